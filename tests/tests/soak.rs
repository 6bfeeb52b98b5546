//! A patch goes into programs at work and out again: `upatch-soak` in small.

use tests::soak::soak;

/// Cycles here; `make soak` runs thousands.
const CYCLES: usize = 40;

macro_rules! subjects {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() -> anyhow::Result<()> {
                let _alone = tests::daemon::alone();
                soak(stringify!($name), CYCLES).map(drop)
            }
        )*
    };
}

subjects! { threads churn signals forks starts hot }
