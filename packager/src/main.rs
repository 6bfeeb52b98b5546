//! `upatch-build`; all logic is in the library.

fn main() -> std::process::ExitCode {
    packager::main()
}
