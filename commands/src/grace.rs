//! How long what runs may take to end.

use std::time::Duration;

use tokio::sync::watch;

/// How long processes may take to end after TERM: what the job says, unless whoever asks for the end says something else.
#[derive(Debug, Clone)]
pub struct Grace {
    own: Duration,
    asked: Option<watch::Receiver<Option<Duration>>>,
}

impl From<Duration> for Grace {
    fn from(own: Duration) -> Self {
        Self { own, asked: None }
    }
}

impl Grace {
    /// The same, and who may say something else when it is time.
    #[must_use]
    pub fn unless(self, asked: watch::Receiver<Option<Duration>>) -> Self {
        Self { asked: Some(asked), ..self }
    }

    /// What the job says.
    pub fn own(&self) -> Duration {
        self.own
    }

    /// What whoever asks for the end has said last, if anything.
    pub(crate) fn asked(&mut self) -> Option<Duration> {
        self.asked.as_mut().and_then(|asked| *asked.borrow_and_update())
    }

    /// Until something else is said.
    pub(crate) async fn asked_again(&mut self) {
        if let Some(asked) = &mut self.asked
            && asked.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
