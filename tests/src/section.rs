//! Sections in several images: what holds in each of them doesn't depend on what ours brings along.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::program;
use crate::team::{Project, deploy_section};

/// The image that the commands of a section run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionImage {
    /// Ours.
    Runner,
    /// A shell and the commands of a static busybox, as this user, and nothing else: no user is known by name.
    Busybox(&'static str),
    /// The first user's, with `slipway` and what that needs of a system.
    BusyboxWithSlipway,
}

impl SectionImage {
    /// Ours, and one that isn't, as root and as somebody.
    pub const EACH: [Self; 3] = [Self::Runner, Self::Busybox("0"), Self::Busybox("1000:1000")];

    /// The user's number.
    pub fn uid(self) -> &'static str {
        match self {
            Self::Runner | Self::BusyboxWithSlipway => "0",
            Self::Busybox(user) => user.split(':').next().unwrap_or(user),
        }
    }

    /// The entry of the `build` section that makes it, if it is to be made.
    pub fn service(self) -> &'static str {
        match self {
            Self::Runner => "",
            Self::Busybox(_) | Self::BusyboxWithSlipway => "  tools: tools\n",
        }
    }

    /// The line of a section that names it, if it is to be named.
    pub fn line(self) -> &'static str {
        match self {
            Self::Runner => "",
            Self::Busybox(_) | Self::BusyboxWithSlipway => "  image: ${OKTETO_BUILD_TOOLS_IMAGE}\n",
        }
    }

    /// A `deploy` section with these commands in it.
    pub fn deploy_section(self, commands: &[&str]) -> String {
        format!("{}{}", deploy_section(commands), self.line())
    }
}

impl Project {
    /// What [`SectionImage::service`] is built from, if anything.
    ///
    /// # Panics
    /// Where there is no busybox.
    pub fn section_image(&self, image: SectionImage) -> &Self {
        let user = match image {
            SectionImage::Runner => return self,
            SectionImage::BusyboxWithSlipway => "0",
            SectionImage::Busybox(user) => user,
        };
        let found = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
        let busybox = fs::read(found.expect("busybox, which `make setup` installs")).expect("read busybox");
        let mut dockerfile = format!(
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN --network=none [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nUSER {user}\n"
        );
        if image == SectionImage::BusyboxWithSlipway {
            let slipway = program("slipway");
            let copied = libraries(&slipway).into_iter().map(|library| (library.clone(), library));
            for (from, to) in copied.chain([(slipway.display().to_string(), "/bin/slipway".to_owned())]) {
                let to = format!("tools/root{to}");
                self.file(&to, fs::read(from).expect("read a program")).mode(&to, 0o755);
            }
            dockerfile += "COPY root /\n";
        }
        self.file("tools/busybox", busybox).mode("tools/busybox", 0o755).file("tools/Dockerfile", dockerfile)
    }

    /// A manifest with these deploy commands, which run in this image, and what that is built from.
    pub fn deploy_in(&self, image: SectionImage, commands: &[&str]) -> &Self {
        self.manifest_in(image, "deploy", commands)
    }

    /// The same for another section that looks like it.
    pub fn manifest_in(&self, image: SectionImage, section: &str, commands: &[&str]) -> &Self {
        let services = image.service();
        let build = if services.is_empty() { String::new() } else { format!("build:\n{services}") };
        let section = image.deploy_section(commands).replacen("deploy:", &format!("{section}:"), 1);
        self.manifest(&(build + &section)).section_image(image)
    }
}

/// What a program is linked with, where it is.
fn libraries(program: &Path) -> Vec<String> {
    let told = Command::new("ldd").arg(program).output().expect("run ldd");
    let told = String::from_utf8(told.stdout).expect("ldd's text");
    let paths = told.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(str::to_owned).collect()
}
