//! The commands of a section, as the job's process runs them in the runner, and as `slipway` runs them on its own machine: the
//! same variables, the same order, the same events.
//!
//! ```text
//! CommandsPlan ── environment ──> Place ── run, over a Channel to an agent ──> Story ──> events
//! ```
//!
//! | module | does |
//! |---|---|
//! | [`archive`] | archives of that, read within limits |
//! | [`collect`](mod@collect) | what they leave for the caller of a test |
//! | [`environment`](mod@environment) | the variables of commands |
//! | [`dependency`] | what the service and `slipway deploy-dependency` say to each other |
//! | [`grace`] | how long what runs may take to end |
//! | [`left`] | what they leave in `$OKTETO_ENV` |
//! | [`room`] | what fits into the start of a program |
//! | [`run`](mod@run) | one command after another, over the channel to an agent |
//! | [`story`] | what they do, as events |
//! | [`text`] | output in pieces that cut no character apart, and its end |

pub mod archive;
pub mod collect;
pub mod dependency;
pub mod environment;
pub mod grace;
pub mod left;
pub mod room;
pub mod run;
pub mod story;
pub mod text;

pub use archive::{MAX_FILES, each_file};
pub use collect::collect;
pub use environment::{Service, environment};
pub use grace::Grace;
pub use left::{Keep, Left};
pub use run::{Channel, GRACE, MAX_GRACE, Place, Required, RunError, hello, probe, run};
pub use story::{Failed, NOT_ALL_MASKED, Sink, Story, masked, sparing};
