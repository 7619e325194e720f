//! Images in glance, and whether one comes back as it was given.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::json;
use ureq::http::Method;

use super::session::Session;

/// The name of the image that is made for the test and removed again.
const NAME: &str = "cellboot-round-trip";
const SIZE_BYTES: usize = 64 * 1024;
/// Length of the day in `2026-11-22T16:00:00Z`.
const DAY: usize = 10;

#[derive(Deserialize)]
struct Image {
    id: String,
    created_at: String,
}

#[derive(Deserialize)]
struct Images {
    images: Vec<Image>,
}

/// Uploads an image, downloads it, compares, and removes it whatever came of it.
pub fn round_trip(session: &Session) -> Result<()> {
    let mut sent = vec![0; SIZE_BYTES];
    getrandom::fill(&mut sent).context("reading random bytes from the kernel")?;
    round_trip_of(session, &sent)
}

/// Makes a raw disk image of these bytes; gives its identifier.
pub fn create(session: &Session, name: &str, bytes: &[u8]) -> Result<String> {
    let image = register(session, name)?;
    upload(session, &image.id, bytes)?;
    Ok(image.id)
}

/// Identifiers of the images of this name.
pub fn find(session: &Session, name: &str) -> Result<Vec<String>> {
    let list: Images = session.get("image", "/v2/images", &[("name", name)])?;
    Ok(list.images.into_iter().map(|image| image.id).collect())
}

fn register(session: &Session, name: &str) -> Result<Image> {
    let body = json!({
        "name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private",
    });
    let call = session.call(Method::POST, "image", "/v2/images")?;
    call.json(&body)?.send()?.json()
}

fn upload(session: &Session, id: &str, bytes: &[u8]) -> Result<()> {
    let call = session.call(Method::PUT, "image", &format!("/v2/images/{id}/file"))?;
    call.bytes(bytes.to_vec()).send()?.success().map(drop)
}

fn round_trip_of(session: &Session, sent: &[u8]) -> Result<()> {
    let image = register(session, NAME)?;
    let came_back = up_and_down(session, &image.id, sent);
    let removed = remove(session, &image.id).and_then(|()| remove_old(session, &image));
    // What went wrong first is what matters.
    let received = came_back?;
    removed?;
    if received != sent {
        bail!(
            "glance gave back {} bytes that are not the {} bytes it was given",
            received.len(),
            sent.len()
        );
    }
    Ok(())
}

fn up_and_down(session: &Session, id: &str, sent: &[u8]) -> Result<Vec<u8>> {
    upload(session, id, sent)?;
    let call = session.call(Method::GET, "image", &format!("/v2/images/{id}/file"))?;
    Ok(call.send()?.success()?.body)
}

/// Removes an image; one that is gone is no error.
pub fn remove(session: &Session, id: &str) -> Result<()> {
    let path = format!("/v2/images/{id}");
    let call = session.call(Method::DELETE, "image", &path)?;
    call.send()?.exists().map(drop)
}

/// Removes what a test left that was killed half way. Only those of an earlier day: there may be
/// another test under way now.
fn remove_old(session: &Session, ours: &Image) -> Result<()> {
    let list: Images = session.get("image", "/v2/images", &[("name", NAME)])?;
    let today = ours.created_at.get(..DAY).unwrap_or_default();
    for image in list.images {
        if image.created_at.as_str() < today {
            remove(session, &image.id)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{Reply, cloud, lines, no_content, ok};

    const MADE: &str = r#"{"id": "i1", "created_at": "2026-11-22T16:00:00Z", "status": "queued",
        "name": "cellboot-round-trip", "file": "/v2/images/i1/file"}"#;

    fn empty_list() -> Reply {
        ok(r#"{"images": [], "first": "/v2/images", "schema": "/v2/schemas/images"}"#)
    }

    #[test]
    fn what_comes_back_whole_is_well() {
        let answers = vec![
            ok(MADE),
            no_content(),
            ok("bytes"),
            no_content(),
            empty_list(),
        ];
        let (session, peer) = cloud("image", "", answers);
        round_trip_of(&session, b"bytes").unwrap();
        let requests = peer.join();
        assert_eq!(requests[3].body, "bytes");
        assert_eq!(
            requests[3].header("content-type"),
            Some("application/octet-stream")
        );
    }

    #[test]
    fn other_bytes_are_noticed_and_the_image_is_removed() {
        let (session, peer) = cloud(
            "image",
            "",
            vec![
                ok(MADE),
                no_content(),
                ok("short"),
                no_content(),
                empty_list(),
            ],
        );
        assert_eq!(
            round_trip_of(&session, b"longer").unwrap_err().to_string(),
            "glance gave back 5 bytes that are not the 6 bytes it was given"
        );
        assert_eq!(
            lines(&peer.join())[1..],
            [
                "POST /v2/images",
                "PUT /v2/images/i1/file",
                "GET /v2/images/i1/file",
                "DELETE /v2/images/i1",
                "GET /v2/images?name=cellboot-round-trip"
            ]
        );
    }

    #[test]
    fn a_refused_upload_is_told_and_the_image_is_removed() {
        let full = (
            "413 Request Entity Too Large",
            vec![],
            "<html><body>The store is full</body></html>".to_owned(),
        );
        let (session, peer) = cloud(
            "image",
            "",
            vec![ok(MADE), full, no_content(), empty_list()],
        );
        let address = peer.address();
        assert_eq!(
            round_trip_of(&session, b"longer").unwrap_err().to_string(),
            format!(
                "PUT http://{address}/v2/images/i1/file answered 413: \
                 <html><body>The store is full</body></html>"
            )
        );
        assert_eq!(lines(&peer.join())[3], "DELETE /v2/images/i1");
    }

    #[test]
    fn leftovers_of_earlier_days_are_removed() {
        let list = r#"{"images": [{"id": "old", "created_at": "2026-11-21T23:59:59Z"},
                                  {"id": "other", "created_at": "2026-11-22T00:00:00Z"}]}"#;
        let (session, peer) = cloud("image", "", vec![ok(list), no_content()]);
        let ours = Image {
            id: "i1".into(),
            created_at: "2026-11-22T16:00:00Z".into(),
        };
        remove_old(&session, &ours).unwrap();
        assert_eq!(lines(&peer.join())[2..], ["DELETE /v2/images/old"]);
    }
}
