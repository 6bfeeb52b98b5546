//! Stands in for compilers, assemblers and linkers during a recorded build; all logic is in the `wrapper`
//! library.

fn main() {
    wrapper::main()
}
