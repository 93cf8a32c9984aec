//! The directory that new files come into: claimed when the first does, and swept by then.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Uid, geteuid};

use super::claim::{Claim, Identity};
use super::location::Location;
use super::sweep::sweep;

/// Claims that are kept although no file is under them: directories that take turns are not
/// claimed each time.
const MOST_UNUSED_CLAIMS: usize = 4;

/// What was swept is forgotten beyond this many directories, to be swept again.
const MOST_SWEPT: usize = 1024;

/// The directory as the application calls it, which may be another one tomorrow.
pub(super) struct Directory {
    path: PathBuf,
    take_claim: fn(&Path) -> io::Result<Claim>,
    /// The one used last comes last.
    claims: Vec<Arc<Claim>>,
    /// It was tried to claim this one, in vain.
    unclaimable: Option<Identity>,
    /// Directories that were swept, or are about to be, and whose files there.
    swept: HashSet<(Identity, Uid)>,
    unswept: Vec<OwnedFd>,
}

fn is_unused(claim: &Arc<Claim>) -> bool {
    Arc::strong_count(claim) == 1
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Directory {
        Directory {
            path,
            take_claim: Claim::take,
            claims: Vec::new(),
            unclaimable: None,
            swept: HashSet::new(),
            unswept: Vec::new(),
        }
    }

    pub(super) fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// Claims the directory and removes what the dead have left, at once.
    pub(super) fn prepare(&mut self) {
        self.claim();
        while let Some(directory) = self.take_unswept() {
            // What cannot be removed now, the next process tries again.
            sweep(directory).ok();
        }
    }

    /// A directory that is to be swept, opened for that.
    pub(super) fn take_unswept(&mut self) -> Option<OwnedFd> {
        self.unswept.pop()
    }

    /// Creates a file, under a claim if the directory can be claimed.
    pub(super) fn create_file(&mut self) -> io::Result<(Location, File)> {
        match self.claim() {
            Some(claim) => Location::claimed(&self.path, &claim),
            None => Location::unclaimed(&self.path),
        }
    }

    /// Tries again what could not be removed.
    pub(super) fn remove_unremoved(&self) {
        for claim in &self.claims {
            claim.remove_unremoved();
        }
    }

    /// In a forked child: its files need claims of its own.
    pub(super) fn after_fork(&mut self) {
        for claim in self.claims.drain(..) {
            claim.let_go();
        }
        self.swept.clear();
        self.unswept.clear();
    }

    /// The claim on the directory that has the path now.
    fn claim(&mut self) -> Option<Arc<Claim>> {
        let identity = Identity::at(&self.path).ok()?;
        if self
            .claims
            .last()
            .is_none_or(|last| last.identity != identity)
        {
            let claim = self.find_or_take(identity)?;
            self.claims.push(claim);
        }
        let current = Arc::clone(self.claims.last()?);
        self.note_unswept(&current);
        Some(current)
    }

    /// If it was not swept for this user: a server may have given up its privileges since.
    fn note_unswept(&mut self, claim: &Claim) {
        let sweep = (claim.identity, geteuid());
        if self.swept.contains(&sweep) {
            return;
        }
        // Else there may be descriptors another time.
        if let Ok(directory) = claim.reopen() {
            if self.swept.len() >= MOST_SWEPT {
                self.swept.clear();
            }
            self.swept.insert(sweep);
            self.unswept.push(directory);
        }
    }

    fn find_or_take(&mut self, identity: Identity) -> Option<Arc<Claim>> {
        let mut claims = self.claims.iter();
        if let Some(index) = claims.position(|claim| claim.identity == identity) {
            return Some(self.claims.remove(index));
        }
        if self.unclaimable == Some(identity) {
            return None;
        }
        match (self.take_claim)(&self.path) {
            Ok(claim) => {
                self.forget_unused_claims();
                Some(Arc::new(claim))
            }
            Err(error) => {
                // Else there may be descriptors or permission another time.
                if error.kind() == io::ErrorKind::Unsupported {
                    self.unclaimable = Some(identity);
                }
                None
            }
        }
    }

    fn forget_unused_claims(&mut self) {
        let mut unused = self.claims.iter().filter(|claim| is_unused(claim)).count();
        self.claims.retain(|claim| {
            let is_surplus = is_unused(claim) && unused >= MOST_UNUSED_CLAIMS;
            unused -= usize::from(is_surplus);
            !is_surplus
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::temporary_name;

    use std::fs::{self, Permissions};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::process::{self, Child, Command, Stdio};
    use std::sync::RwLock;

    use rustix::io::{FdFlags, fcntl_getfd};
    use rustix::process::{Signal, getpid, kill_process};
    use tempfile::TempDir;

    /// An owner in a directory. Each has descriptors of its own, as processes have.
    fn owner(directory: &TempDir) -> Directory {
        Directory::new(directory.path().to_path_buf())
    }

    fn create(owner: &mut Directory) -> Location {
        owner.create_file().unwrap().0
    }

    /// Locked while a process is being started, which has all descriptors for a moment.
    static STARTING: RwLock<()> = RwLock::new(());

    /// What a new process does first.
    fn sweep_anew(directory: &TempDir) {
        owner(directory).prepare();
    }

    /// What the system does when a process is killed: its descriptors are closed.
    fn die(mut owner: Directory) {
        owner.after_fork();
        drop(STARTING.read());
    }

    /// A path as a dead process leaves it, with nothing there.
    fn dead_path(directory: &TempDir) -> PathBuf {
        let mut owner = owner(directory);
        let location = create(&mut owner);
        location.remove();
        die(owner);
        location.path
    }

    fn names(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    fn owner_of(path: &Path) -> Option<temporary_name::Tag> {
        temporary_name::owner(path.file_name().unwrap().as_encoded_bytes())
    }

    #[test]
    fn files_of_the_dead_are_swept_and_those_of_the_living_stay() {
        let here = tempfile::tempdir().unwrap();
        let (mut living, mut other, mut dying) = (owner(&here), owner(&here), owner(&here));
        let kept = [create(&mut living), create(&mut other)];
        let left = [create(&mut dying), create(&mut dying)];
        sweep_anew(&here);
        assert_eq!(names(here.path()), 4, "all of them live");
        die(dying);
        sweep_anew(&here);
        assert!(left.iter().all(|location| !location.path.exists()));
        assert!(kept.iter().all(|location| location.path.exists()));
    }

    #[test]
    fn a_claim_asks_for_a_sweep_unless_there_was_one() {
        let here = tempfile::tempdir().unwrap();
        let mut first = owner(&here);
        create(&mut first);
        assert_eq!(sweep(first.take_unswept().unwrap()).unwrap(), 0);
        create(&mut first);
        assert!(first.take_unswept().is_none(), "the claim is there");
        die(first);
        let mut second = owner(&here);
        second.prepare();
        assert_eq!(names(here.path()), 0);
        create(&mut second);
        assert!(second.take_unswept().is_none(), "it was swept before");
        second.after_fork();
        create(&mut second);
        assert_eq!(sweep(second.take_unswept().unwrap()).unwrap(), 1);
    }

    #[test]
    fn who_has_become_another_user_sweeps_that_ones_files() {
        let here = tempfile::tempdir().unwrap();
        let mut owner = owner(&here);
        owner.prepare();
        let another = Uid::from_raw(geteuid().as_raw() + 1);
        owner.swept = HashSet::from([(owner.claims[0].identity, another)]);
        create(&mut owner);
        assert!(owner.take_unswept().is_some());
        create(&mut owner);
        assert!(owner.take_unswept().is_none());
    }

    #[test]
    fn nothing_but_temporary_files_is_swept() {
        let here = tempfile::tempdir().unwrap();
        let unsaved = |path: &Path| {
            fs::write(path, "content").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o1600)).unwrap();
        };
        for mode in [0o644, 0o640, 0o600, 0o400] {
            let saved = dead_path(&here);
            unsaved(&saved);
            fs::set_permissions(&saved, Permissions::from_mode(mode)).unwrap();
        }
        let target = here.path().join("target");
        unsaved(&target);
        symlink(&target, dead_path(&here)).unwrap();
        fs::create_dir(dead_path(&here)).unwrap();
        let mut changed = dead_path(&here).into_os_string().into_encoded_bytes();
        let last = changed.last_mut().unwrap();
        *last = if *last == b'x' { b'y' } else { b'x' };
        unsaved(Path::new(std::str::from_utf8(&changed).unwrap()));
        if geteuid().is_root() {
            let anothers = dead_path(&here);
            unsaved(&anothers);
            chown(&anothers, Some(65_534), None).unwrap();
        }
        let before = names(here.path());
        sweep_anew(&here);
        assert_eq!(names(here.path()), before);
        unsaved(&dead_path(&here));
        sweep_anew(&here);
        assert_eq!(names(here.path()), before, "and that is one");
    }

    #[test]
    fn a_file_that_was_about_to_be_saved_is_swept() {
        let here = tempfile::tempdir().unwrap();
        let path = dead_path(&here);
        fs::write(&path, "content").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o1644)).unwrap();
        sweep_anew(&here);
        assert_eq!(names(here.path()), 0);
    }

    #[test]
    fn files_are_protected_in_a_directory_that_took_the_place_of_another() {
        let here = tempfile::tempdir().unwrap();
        let (path, moved) = (here.path().join("files"), here.path().join("moved"));
        fs::create_dir(&path).unwrap();
        let mut owner = Directory::new(path.clone());
        let old = create(&mut owner);
        fs::rename(&path, &moved).unwrap();
        assert!(owner.create_file().is_err(), "there is none");
        fs::create_dir(&path).unwrap();
        let new = create(&mut owner);
        for directory in [&path, &moved] {
            Directory::new(directory.clone()).prepare();
            assert_eq!(names(directory), 1, "{directory:?}");
        }
        old.remove();
        assert_eq!(names(&moved), 0, "from where it is by now");
        new.remove();
        assert_eq!(names(&path), 0);
    }

    #[test]
    fn directories_that_take_turns_are_swept_once() {
        let directories: Vec<_> = (0..3 * MOST_UNUSED_CLAIMS)
            .map(|_| tempfile::tempdir().unwrap())
            .collect();
        let mut owner = owner(&directories[0]);
        for round in 0..3 {
            for directory in &directories {
                owner.set_path(directory.path().to_path_buf());
                create(&mut owner).remove();
                assert_eq!(owner.take_unswept().is_some(), round == 0);
            }
        }
    }

    #[test]
    fn a_directory_waits_for_its_sweep_while_another_is_used() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut owner = owner(&first);
        create(&mut owner);
        owner.set_path(second.path().to_path_buf());
        create(&mut owner);
        let both = [owner.take_unswept(), owner.take_unswept()];
        assert!(both.iter().all(Option::is_some));
        assert!(owner.take_unswept().is_none());
    }

    #[test]
    fn claims_without_files_are_few() {
        let here = tempfile::tempdir().unwrap();
        let mut owner = owner(&here);
        let used = create(&mut owner);
        for number in 0..3 * MOST_UNUSED_CLAIMS {
            let path = here.path().join(number.to_string());
            fs::create_dir(&path).unwrap();
            owner.set_path(path);
            create(&mut owner).remove();
        }
        assert_eq!(owner.claims.len(), 1 + MOST_UNUSED_CLAIMS);
        sweep_anew(&here);
        assert!(used.path.exists(), "its claim lasts");
    }

    #[test]
    fn where_nothing_can_be_locked_nothing_is_swept() {
        let here = tempfile::tempdir().unwrap();
        let mut owner = owner(&here);
        owner.take_claim = |_| Err(io::ErrorKind::Unsupported.into());
        let location = create(&mut owner);
        assert_eq!(owner_of(&location.path), None);
        assert!(owner.take_unswept().is_none());
        die(owner);
        sweep_anew(&here);
        assert!(location.path.exists());
        location.remove();
        assert_eq!(names(here.path()), 0, "its owner can");
    }

    #[test]
    fn what_has_failed_for_now_is_tried_again() {
        let here = tempfile::tempdir().unwrap();
        let mut owner = owner(&here);
        owner.take_claim = |_| Err(rustix::io::Errno::MFILE.into());
        assert_eq!(owner_of(&create(&mut owner).path), None);
        owner.take_claim = Claim::take;
        assert!(owner_of(&create(&mut owner).path).is_some());
    }

    #[test]
    fn programs_that_are_run_inherit_no_claim() {
        let here = tempfile::tempdir().unwrap();
        let mut owner = owner(&here);
        create(&mut owner);
        let unswept = owner.take_unswept().unwrap();
        let reopened = owner.claims[0].reopen().unwrap();
        for descriptor in [unswept, reopened] {
            assert_eq!(fcntl_getfd(descriptor.as_fd()).unwrap(), FdFlags::CLOEXEC);
        }
    }

    const LIFE_DIRECTORY: &str = "LIFE_DIRECTORY";

    /// Many at a time claim one directory, have files in it, sweep it and are killed.
    #[test]
    fn no_file_of_the_living_is_lost_where_many_live_and_die() {
        let here = tempfile::tempdir().unwrap();
        for _ in 0..4 {
            let lives: Vec<_> = (0..12).map(|_| begin_life(here.path())).collect();
            for life in lives {
                let end = life.wait_with_output().unwrap();
                assert!(end.status.to_string().contains("SIGKILL"), "{end:?}");
            }
        }
        assert!(names(here.path()) > 0, "they have left something");
        sweep_anew(&here);
        assert_eq!(names(here.path()), 0);
    }

    fn begin_life(directory: &Path) -> Child {
        let _nobody_dies = STARTING.write();
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store::directory::tests::life"])
            .env(LIFE_DIRECTORY, directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// One of these, in a process of its own.
    #[test]
    #[ignore = "part of no_file_of_the_living_is_lost_where_many_live_and_die"]
    fn life() {
        let path = PathBuf::from(std::env::var_os(LIFE_DIRECTORY).unwrap());
        let mut files = Vec::new();
        let mut owner = Directory::new(path.clone());
        for round in 0..15 {
            Directory::new(path.clone()).prepare();
            if round % 5 == 4 {
                // A worker that was forked begins like this.
                owner = Directory::new(path.clone());
            }
            let (location, _) = owner.create_file().unwrap();
            let content = format!("{} {round}", process::id());
            fs::write(&location.path, &content).unwrap();
            files.push((location, content));
            if round % 3 == 0 {
                files.remove(0).0.remove();
            }
            owner.take_unswept().map(sweep).transpose().unwrap();
            for (location, content) in &files {
                assert_eq!(&fs::read_to_string(&location.path).unwrap(), content);
            }
        }
        kill_process(getpid(), Signal::KILL).unwrap();
    }
}
