//! `tests/powercut`: cuts the power of a disk under a store that is written, again and again.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use cargomail_tests::powercut;
use clap::Parser;

#[derive(Parser)]
#[command(
    about = "Cuts the power of a disk under a store that is written, and looks for everything that was acknowledged",
    after_help = "\
Examples:
  tests/powercut
  tests/powercut --rounds 200 --seed 7

It takes root, to mount a file as a disk; `TMPDIR` says where that file lies."
)]
struct Arguments {
    /// How often
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// What the moments of the cuts are drawn from; otherwise the time
    #[arg(long)]
    seed: Option<u64>,
    /// Is the process that writes: the store's folder
    #[arg(long, hide = true, requires = "number")]
    load: Option<PathBuf>,
    /// The round of the process that writes
    #[arg(long, hide = true)]
    number: Option<usize>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let (Some(folder), Some(number)) = (arguments.load, arguments.number) {
        return powercut::load(&folder, number).await;
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seed = arguments.seed.unwrap_or(time);
    println!("seed {seed}");
    let program = std::env::current_exe()?;
    let checked = powercut::run(&program, arguments.rounds, seed, |line| println!("{line}")).await?;
    println!("nothing that was acknowledged was lost: {checked}");
    Ok(())
}
