//! What stands for an upload in its address: its holder may send that upload's bytes, and nothing else. Google's clients
//! send them without a key. Signed with the deployment's own key, so that any ingress knows one. Knows nothing of files.

use super::ring::KeyRing;
use penstock_schemas::file::UploadId;
use penstock_schemas::name::ProjectId;

/// The longest ticket that is looked at, in bytes: a signature, an id and the name of a project.
const LONGEST: usize = 512;

/// What stands for an upload.
pub(crate) fn write(keys: &KeyRing, project: &ProjectId, id: UploadId) -> String {
    let text = text(project, id);
    format!("{}.{text}", keys.hasher().sign(&text))
}

/// The upload that a ticket stands for; `None` when this deployment has made none such.
pub(crate) fn read(keys: &KeyRing, ticket: &str) -> Option<(ProjectId, UploadId)> {
    let (signature, signed) = ticket.split_once('.').filter(|_| ticket.len() <= LONGEST)?;
    let (id, project) = signed.split_once('.')?;
    let (id, project) = (UploadId::parse(id)?, ProjectId::parse(project).ok()?);
    keys.hasher().is_signed(signed, signature).then_some((project, id))
}

fn text(project: &ProjectId, id: UploadId) -> String {
    format!("{id}.{project}")
}

#[cfg(test)]
mod tests {
    use super::super::hash::Hasher;
    use super::*;
    use penstock_runtime::Secret;

    #[test]
    fn a_ticket_stands_for_one_upload_of_one_project_in_one_deployment() {
        let ring = |key: &str| KeyRing::new(Hasher::new(&Secret::new(key)));
        let (own, other) = (ring("own"), ring("other"));
        let id = UploadId::parse("upload_00000000000000000000000000000001").unwrap();
        let ticket = write(&own, &ProjectId::parse("search").unwrap(), id);
        assert_eq!(read(&own, &ticket), Some((ProjectId::parse("search").unwrap(), id)));
        assert_eq!(read(&other, &ticket), None);
        for (from, to) in [("search", "other"), ("0001", "0002"), (".", ""), ("upload_", "file-")] {
            assert_eq!(read(&own, &ticket.replacen(from, to, 1)), None, "{from}");
        }
        for bad in ["", ".", "..", &format!("{ticket}{}", "x".repeat(LONGEST))] {
            assert_eq!(read(&own, bad), None, "{bad}");
        }
    }
}
