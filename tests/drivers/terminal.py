"""Runs a program in a terminal of 24 lines: terminal.py DIR PROGRAM ARGUMENT...

Keys come from standard input; what the program writes goes to DIR/screen, its pid to DIR/pid."""
import fcntl, os, pty, select, struct, sys, termios

folder, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    os.execve(command[0], command, dict(os.environ, LESSHISTFILE='-', TERM='xterm'))
screen = open(folder + '/screen', 'wb', buffering=0)
with open(folder + '/pid.new', 'w') as file:
    file.write(str(pid))
os.rename(folder + '/pid.new', folder + '/pid')
while True:
    ready = select.select([0, terminal], [], [])[0]
    try:
        if terminal in ready:
            data = os.read(terminal, 65536)
            if not data:
                break
            screen.write(data)
        if 0 in ready:
            os.write(terminal, os.read(0, 4096))
    except OSError:
        break
os.waitpid(pid, 0)
