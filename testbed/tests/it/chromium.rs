//! What a look at a page would show, were there something to see.
use dts_testbed::chromium::{Chromium, Look};

const LOOK: Look = Look { width: 700, height: 500, dark: false };

#[test]
fn errors_and_too_wide_pages_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    std::fs::write(
        &page,
        "<!doctype html><div style='width: 900px'>wide</div><p id=p></p><script>p.textContent = 'was ' + 'run'; \
         console.error('bad')</script><img src='missing.png'>",
    )
    .unwrap();
    let chromium = Chromium::obtain().unwrap();
    let seen = chromium.look(&page, LOOK).unwrap();
    assert!(seen.dom.contains("was run"), "{seen:?}");
    assert!(seen.console.iter().any(|line| line.contains("bad")), "{seen:?}");
    let seen = chromium.look(&Chromium::narrow(&page, 390, 500).unwrap(), LOOK).unwrap();
    let measured = seen.dom.split_once("<output>").unwrap().1;
    let width: u32 = measured.split_once(" x ").unwrap().0.parse().unwrap();
    assert!(width >= 900, "{measured}");
    // A page that forbids itself scripts says so when one comes.
    let strict = "<!doctype html><meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><script>1</script>";
    std::fs::write(&page, strict).unwrap();
    let seen = chromium.look(&page, LOOK).unwrap();
    assert!(!seen.console.is_empty(), "{seen:?}");
}
