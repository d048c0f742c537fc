//! Which version may replace which.

use eyot_trust::release::{Admission, History, Release, ReleaseError};

fn release(version: &str, content: u8) -> Release {
    Release { version: version.parse().unwrap(), content_sha256: [content; 32] }
}

fn running(version: &str, content: u8) -> History {
    let active = Some(release(version, content));
    History { highest: active.clone(), active, rollback: None }
}

#[test]
fn versions_go_up() {
    assert_eq!(History::default().admit(&release("0.0.1", 1)), Ok(Admission::Replaces));
    let history = running("1.2.0", 1);
    for higher in ["1.2.1", "1.10.0", "2.0.0", "1.3.0-rc.1"] {
        assert_eq!(history.admit(&release(higher, 2)), Ok(Admission::Replaces), "{higher}");
    }
    for lower in ["1.1.9", "0.9.0", "1.2.0-rc.1"] {
        let error = history.admit(&release(lower, 2)).unwrap_err();
        assert!(matches!(error, ReleaseError::Older { .. }), "{lower}: {error}");
        assert!(error.to_string().contains("older than 1.2.0") && error.to_string().contains("roll back"), "{error}");
    }
}

#[test]
fn a_version_belongs_to_one_build() {
    let history = running("1.2.0", 1);
    assert_eq!(history.admit(&release("1.2.0", 1)), Ok(Admission::Unchanged));
    for version in ["1.2.0", "1.2.0+other"] {
        let error = history.admit(&release(version, 2)).unwrap_err();
        assert!(matches!(error, ReleaseError::Taken { .. }), "{error}");
    }
}

/// 1.3.0 ran, failed, and was rolled back to 1.2.0. Its push comes again: someone recorded it, or it was retained.
#[test]
fn what_was_rolled_back_does_not_come_back_by_a_replay() {
    let mut history = History { highest: Some(release("1.3.0", 3)), ..running("1.2.0", 2) };
    assert!(matches!(history.admit(&release("1.3.0", 3)), Err(ReleaseError::RolledBack { .. })));
    assert!(matches!(history.admit(&release("1.2.5", 5)), Err(ReleaseError::Older { .. })));
    assert_eq!(history.admit(&release("1.2.0", 2)), Ok(Admission::Unchanged));
    assert_eq!(history.admit(&release("1.3.1", 4)), Ok(Admission::Replaces));
    history.highest = None;
    assert!(matches!(history.admit(&release("1.1.0", 3)), Err(ReleaseError::Older { .. })), "what runs counts too");
}

#[test]
fn a_signed_rollback_lets_one_build_back() {
    let history = History { rollback: Some([1; 32]), ..running("1.2.0", 2) };
    assert_eq!(history.admit(&release("1.1.0", 1)), Ok(Admission::Replaces));
    assert!(history.admit(&release("1.1.0", 9)).is_err());
}
