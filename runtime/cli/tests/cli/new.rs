//! `eyot new`.

use std::fs;

use crate::harness::Folder;

#[test]
fn a_folder_with_everything_in_it() {
    let folder = Folder::new();
    folder.eyot(&["new", "barn-temp"]).exits(0).prints(&["made barn-temp", "eyot build barn-temp"]);
    for file in ["Cargo.toml", "function.toml", "src/lib.rs", ".cargo/config.toml", ".gitignore"] {
        let text = String::from_utf8(folder.read(&format!("barn-temp/{file}"))).unwrap();
        assert!(!text.contains("NAME"), "{file}: {text}");
    }
    let cargo = String::from_utf8(folder.read("barn-temp/Cargo.toml")).unwrap();
    assert!(cargo.contains("name = \"barn-temp\"") && cargo.contains("functions/sdk\""), "{cargo}");
}

#[test]
fn names_that_would_not_work_are_refused() {
    let folder = Folder::new();
    for name in ["Barn", "barn_1", "1barn", "-barn", "", "fn", "std", "eyot-sdk", "../barn", &"x".repeat(33)] {
        folder.eyot(&["new", "--", name]).exits(2).says(&["name \""]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn nothing_that_exists_is_touched() {
    let folder = Folder::new();
    folder.write("barn/notes", "mine");
    folder.eyot(&["new", "barn"]).exits(2).says(&["barn: exists and is not empty", "--path"]);
    folder.eyot(&["new", "barn", "--path", "barn/notes"]).exits(2).says(&["barn/notes: is not a folder"]);
    assert_eq!(fs::read_dir(folder.path().join("barn")).unwrap().count(), 1);
    fs::create_dir(folder.path().join("empty")).unwrap();
    folder.eyot(&["new", "barn", "--path", "empty"]).exits(0);
}

#[test]
fn an_sdk_that_is_none_is_refused() {
    let folder = Folder::new();
    folder.write("other/Cargo.toml", "[package]\nname = \"other\"\n");
    folder.eyot(&["new", "barn", "--sdk", "gone"]).exits(2).says(&["gone: has no Cargo.toml", "--sdk"]);
    folder.eyot(&["new", "barn", "--sdk", "other"]).exits(2).says(&["other: is not the crate eyot-sdk"]);
    assert!(!folder.path().join("barn").exists());
}
