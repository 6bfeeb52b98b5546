//! `doctor`.

use crate::{
    cli::{args::Json, report},
    manage::{self, Context, Error, Finding, Inventory},
};
use patchfile::exit::ManageExit;
use serde_json::json;

/// Looks for what keeps patches from working here.
pub(crate) fn doctor(ctx: &mut Context<'_>, args: &Json) -> Result<ManageExit, Error> {
    let inventory = Inventory::read(ctx)?;
    let findings = manage::examine(ctx, &inventory);
    let wrong = findings.iter().any(|f| f.wrong);
    if args.json {
        let of = |f: &Finding| json!({ "wrong": f.wrong, "what": f.what, "remedy": f.remedy });
        report::json(ctx, &json!({ "findings": findings.iter().map(of).collect::<Vec<_>>() }))?;
        return Ok(exit(wrong));
    }
    for finding in &findings {
        ctx.say(format_args!("{:<6} {}", if finding.wrong { "wrong:" } else { "note:" }, finding.what))?;
        if let Some(remedy) = &finding.remedy {
            ctx.say(format_args!("       {remedy}"))?;
        }
    }
    if !wrong {
        ctx.say("nothing is wrong")?;
    }
    Ok(exit(wrong))
}

fn exit(wrong: bool) -> ManageExit {
    if wrong { ManageExit::Failed } else { ManageExit::Done }
}
