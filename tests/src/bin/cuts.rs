//! `tests/cuts`: a large transfer between real nodes that is cut again and again.

use std::time::{SystemTime, UNIX_EPOCH};

use cargomail_tests::cuts::{self, Cut, Plan};
use clap::Parser;

const MIB: u64 = 1024 * 1024;

#[derive(Parser)]
#[command(
    about = "Cuts one transfer at random points: the wire, the origin, the destination, and once the destination's disk is full",
    after_help = "\
Examples:
  tests/cuts
  tests/cuts --size 512 --cuts 20 --seed 7
  tests/cuts --size 256 --cuts 20 --only destination-killed

It takes root, to mount a file as the destination's disk; `TMPDIR` says where all files lie, about four times the size."
)]
struct Arguments {
    /// The file's size, in MiB
    #[arg(long, default_value_t = 4096)]
    size: u64,
    /// How often it is cut
    #[arg(long, default_value_t = 100)]
    cuts: usize,
    /// What the points are drawn from; otherwise the time
    #[arg(long)]
    seed: Option<u64>,
    /// MiB a second over the wire
    #[arg(long, default_value_t = 64)]
    rate: u64,
    /// Only such cuts: what does one of them cost?
    #[arg(long, value_enum)]
    only: Vec<Cut>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let plan = Plan {
        size: arguments.size * MIB,
        cuts: arguments.cuts,
        seed: arguments.seed.unwrap_or(time),
        rate: arguments.rate * MIB,
        only: arguments.only,
    };
    println!("seed {}", plan.seed);
    let outcome = cuts::run(&plan, |line| println!("{line}")).await?;
    println!("{outcome}");
    Ok(())
}
