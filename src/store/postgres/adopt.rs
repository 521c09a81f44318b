//! Ids of earlier programs, renamed.

use super::fault::Fault;
use super::link::{Ask, Link};
use crate::store::Adoption;

/// Renames a task; whether it did.
pub(super) async fn adopt(link: &Link, adoption: &Adoption) -> Result<bool, Fault> {
    let digests: Option<Vec<Vec<u8>>> =
        adoption.only.as_ref().map(|only| only.iter().map(|digest| digest.as_bytes().to_vec()).collect());
    let ask = Ask::new(
        "WITH adopted AS ( \
             UPDATE @task t SET name = $2 WHERE t.name = $1 \
             AND NOT EXISTS (SELECT 1 FROM @task o WHERE o.name = $2) \
             AND ($3::bytea[] IS NULL OR NOT EXISTS ( \
                 SELECT 1 FROM @invocation i JOIN @component c ON c.key = i.component \
                 WHERE i.task = t.key AND i.place IS NOT NULL AND c.digest <> ALL($3))) \
             RETURNING 1), \
         held AS (UPDATE @paused SET name = $2 \
             WHERE kind = 'task' AND name = $1 AND EXISTS (SELECT 1 FROM adopted)) \
         SELECT 1 FROM adopted",
    );
    let ask = ask.with(&*adoption.from).with(&*adoption.to).with(digests);
    let answers = link.ask(vec![link.begin(), ask, Ask::simple("COMMIT")]).await?;
    Ok(!answers[1].is_empty())
}
