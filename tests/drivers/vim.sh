#!/bin/bash
# vim: in ex mode, told to edit, search, substitute, sort, undo and run scripts.
. "$(dirname "$0")/lib.sh"
start() {
    serve "$ROOT/usr/bin/vim" -u NONE -i NONE -n -es -N
}
probe() {
    cat > "$DIR/script.vim" <<'V'
enew!
call setline(1, map(range(1, 60), {_, n -> n * 7919 % 100 . " word" . n . " some text (and) [more] {here}"}))
silent %s/word\(\d\+\)/W<\1>/g
silent! %s/\v(some) (text)/\=submatch(2) . "-" . submatch(1)/
sort n
global/0 /move 0
" All that a script does is one step to undo, unless it says where one ends.
let &undolevels = &undolevels
normal! 5Gdw3Jx~
let &undolevels = &undolevels
undo
normal! ggVGgu
silent! normal! gg=G
1,5yank a
put a
let @/ = 'w<[0-9]>'
let found = []
global//call add(found, line('.'))
call append('$', string(found))
call append('$', join(map(copy(found), 'v:val * 2'), ','))
call append('$', [substitute('aXbX', 'X', '\n', 'g'), toupper('abc'), printf('%-5s|%05.2f', 'x', 3.14159), string(sort([3,1,2])), json_encode({'a': [1, 2.5, v:null]})])
let d = {'k': 1}
function! d.f(x) dict
  return self.k + a:x
endfunction
call append('$', string(d.f(41)))
try
  call undefined_function()
catch
  call append('$', v:exception)
endtry
let &undolevels = &undolevels
normal! Go!
let &undolevels = &undolevels
undo
redo
set foldmethod=indent | normal! zMzR
silent! vimgrep /w<1/ %
%print
new
call setline(1, ['second', 'third', 'fourth'])
wincmd w
split | resize 3 | wincmd j | only
execute "normal! ggqaA.\<Esc>jq3@a"
call append('$', string(getpos('.')) . ' ' . line('$') . ' ' . winnr('$'))
diffthis | diffoff
call append('$', expand('%:p') . strftime('') . fnamemodify('/a/b.c', ':t:r'))
retab | left 2 | center 60
%print
%bwipeout!
V
    ask "end of work" "source $DIR/script.vim
put ='end of work'
\$print
%bwipeout!" | sed "s,$DIR,DIR,g"
}
run "$@"
