//! A store full of invocations, as SQL for both databases: they differ in how a series
//! and a blob are written.

use run_wasm_runner::model::UnixMicros;

use super::exercise::ROOM;

/// Number of the first invocation of the backlog.
const FIRST: usize = 1_000_000;

/// The highest number in the backlog; later submits get higher numbers.
pub(super) const LAST: usize = 100_000_000;

/// Counts what there is.
const COUNT: &str = "DELETE FROM tally; INSERT INTO tally (task, status, n) \
                     SELECT task, status, count(*) FROM invocation GROUP BY task, status; ";

/// How one of the two databases writes what they write differently.
pub(super) struct Dialect {
    /// The numbers from 0 to `n - 1`, as the column `g` of a table `series`.
    pub(super) series: fn(usize) -> String,
    /// The 16 bytes of an id, from a number.
    pub(super) id: fn(&str) -> String,
    /// An idempotency key, from a number.
    pub(super) key: fn(&str) -> String,
    /// The columns of `start` behind the lane and the moment, and their values.
    pub(super) start: (&'static str, &'static str),
    /// How many starts the rows of `start` stand for.
    pub(super) starts: &'static str,
    /// The columns that only this database has in `lane`, each with a comma before it, and
    /// their values.
    pub(super) lane: (&'static str, &'static str),
}

/// A number of an invocation of the backlog: the `g`th with status `which`.
fn seq(which: usize) -> String {
    format!("{FIRST} + g * 8 + {which}")
}

/// Fills the store with `count` final invocations of every final status.
pub(super) fn of_final(dialect: &Dialect, count: usize, now: UnixMicros) -> String {
    let now = now.0;
    let series = (dialect.series)(count);
    let mut sql = String::new();
    for (which, status) in ["succeeded", "failed", "cancelled", "skipped"].into_iter().enumerate() {
        let seq = seq(which);
        let id = (dialect.id)(&seq);
        let (key, parent) = match which {
            0 => ((dialect.key)("g"), "NULL".to_owned()),
            1 => ("NULL".to_owned(), (dialect.id)(&self::seq(0))),
            _ => ("NULL".to_owned(), "NULL".to_owned()),
        };
        let outcome = match which {
            0 => "NULL, '1'",
            _ => r#"'{"kind":"trapped","message":"as planned"}', NULL"#,
        };
        sql += &format!(
            "INSERT INTO invocation (seq, id, status, place, task, component, attempt, max_attempts, moves, \
             order_key, priority, available_at, submitted_at, started_at, finished_at, runner, parent, \
             child_index, root, depth, detached, has_children, idempotency_key) \
             SELECT {seq}, {id}, '{status}', NULL, (SELECT key FROM task WHERE name = 'work'), \
             (SELECT min(key) FROM component), 1, 3, 3, {now}, 0, {now}, {now}, {now}, {now} - {count} + g, \
             {runner}, {parent}, {child}, {parent}, {child}, false, {has_children}, {key} FROM {series}; \
             INSERT INTO history (seq, n, at, status, reason, attempt) \
             SELECT {seq}, 3, {now}, '{status}', '{status}', 1 FROM {series}; \
             INSERT INTO arguments (seq, json) SELECT {seq}, '[1]' FROM {series}; \
             INSERT INTO outcome (seq, failure, value) SELECT {seq}, {outcome} FROM {series}; ",
            runner = (dialect.id)("g % 10"),
            child = if which == 1 { "1" } else { "0" },
            has_children = which == 0,
        );
    }
    sql + COUNT
}

/// Fills the store with `count` unfinished invocations of every other status: half of
/// the queued ready, the others delayed or blocked.
pub(super) fn of_unfinished(dialect: &Dialect, count: usize, now: UnixMicros) -> String {
    let now = now.0;
    let later = now + 1_000_000_000_000_000;
    let series = (dialect.series)(count);
    let columns = "seq, id, status, place, task, component, attempt, max_attempts, moves, order_key, \
                   priority, available_at, submitted_at, depth, detached, has_children, runner, parent, \
                   child_index, root, deadline, lane, unique_key";
    let task = |name: &str| format!("(SELECT key FROM task WHERE name = '{name}')");
    let id = dialect.id;
    let mut sql = String::new();
    for (which, status) in [(4, "claimed"), (5, "running"), (6, "waiting")] {
        let seq = seq(which);
        let succeeded = id(&self::seq(0));
        let (parent, depth) = match status {
            // They outlive their parents, which must stay.
            "running" => {
                (format!("CASE WHEN g % 2 = 0 THEN {succeeded} END"), "CASE WHEN g % 2 = 0 THEN 1 ELSE 0 END")
            }
            _ => ("NULL".to_owned(), "0"),
        };
        let unique = if status == "claimed" { id("g + 1000") } else { "NULL".to_owned() };
        sql += &format!(
            "INSERT INTO invocation ({columns}) SELECT {seq}, {this}, '{status}', 'owned', {work}, \
             (SELECT min(key) FROM component), 1, 3, 1, {now}, 0, {now}, {now}, {depth}, {depth} = 1, \
             {has_children}, {runner}, {parent}, {depth}, {parent}, {later} + g, NULL, {unique} \
             FROM {series}; \
             INSERT INTO history (seq, n, at, status, reason, runner, attempt) \
             SELECT {seq}, 1, {now}, 'claimed', 'claimed', {runner}, 1 FROM {series}; ",
            this = id(&seq),
            work = task("work"),
            has_children = status == "waiting",
            runner = id("g % 10"),
        );
    }
    let seq = seq(7);
    // Of ten queued ones, four are ready, two of them in trees; two are ready and two
    // blocked in lanes; two are delayed.
    let root = format!("CASE WHEN g % 10 < 2 THEN {} END", id(&format!("{FIRST} + g % 100 * 8 + 6")));
    let is_in_lane = "g % 10 IN (4, 5, 8, 9)";
    let lanes = (count / 5 / ROOM).max(1);
    sql += &format!(
        "INSERT INTO invocation ({columns}) SELECT {seq}, {this}, 'queued', \
         CASE WHEN g % 10 < 6 THEN 'ready' WHEN g % 10 < 8 THEN 'delayed' ELSE 'blocked' END, \
         CASE WHEN {is_in_lane} THEN {laned} ELSE {work} END, (SELECT min(key) FROM component), 0, 3, 0, \
         CASE WHEN g % 10 < 6 THEN {now} ELSE {later} END + g, 0, \
         CASE WHEN g % 10 IN (6, 7) THEN {later} ELSE {now} END + g, {now}, \
         CASE WHEN g % 10 < 2 THEN 1 ELSE 0 END, false, false, NULL, {root}, \
         CASE WHEN g % 10 < 2 THEN g END, {root}, {later} + g, CASE WHEN {is_in_lane} THEN {lane} END, NULL \
         FROM {series}; ",
        this = id(&seq),
        work = task("work"),
        laned = task("laned"),
        lane = id(&format!("g / 10 % {lanes}")),
    );
    // Lanes whose rate is used up.
    let rated = (dialect.series)(1_000);
    let seq = format!("{FIRST} + {count} * 8 + g");
    sql += &format!(
        "INSERT INTO invocation ({columns}) SELECT {seq}, {this}, 'queued', 'blocked', {task}, \
         (SELECT min(key) FROM component), 0, 3, 0, {now} + g, 0, {now} + g, {now}, 0, false, false, NULL, NULL, \
         NULL, NULL, NULL, {lane}, NULL FROM {rated}; \
         INSERT INTO start (task, key, at{column}) SELECT {task}, {key}, {now} + g{value} FROM {starts}; ",
        this = id(&seq),
        task = task("rated"),
        lane = id("g % 10"),
        key = id("g / 1000"),
        starts = (dialect.series)(10_000),
        column = dialect.start.0,
        value = dialect.start.1,
    );
    let (column, value) = dialect.lane;
    let count = |place: &str| format!("sum(CASE WHEN place = '{place}' THEN 1 ELSE 0 END)");
    sql += &format!(
        "DELETE FROM lane; \
         INSERT INTO lane (task, key, ready, blocked, owned, started, opens_at{column}) \
         SELECT task, lane, {ready}, {blocked}, {owned}, \
         (SELECT {starts} FROM start s WHERE s.task = i.task AND s.key = i.lane), \
         CASE WHEN task = {rated} AND {blocked} > 0 THEN {opens_at} END{value} \
         FROM invocation i WHERE lane IS NOT NULL AND place IS NOT NULL GROUP BY task, lane; \
         INSERT INTO arguments (seq, json) SELECT i.seq, '[1]' FROM invocation i \
         WHERE i.place IS NOT NULL AND i.seq BETWEEN {FIRST} AND {LAST}; \
         INSERT INTO runner (id, lease_until, is_lost) SELECT {runner}, {later}, false FROM {runners}; ",
        ready = count("ready"),
        blocked = count("blocked"),
        owned = count("owned"),
        starts = dialect.starts,
        rated = task("rated"),
        opens_at = now + 3_600_000_000,
        runner = id("g"),
        runners = (dialect.series)(10),
    );
    // Very many keys, and the clock where the backlog is.
    sql += &format!(
        "INSERT INTO fairness_key (name, cost, finish, uses) \
         SELECT 'key ' || g, 1000000, {now}, 1 FROM {series} WHERE NOT EXISTS ( \
             SELECT 1 FROM fairness_key k WHERE k.name = 'key ' || g); \
         UPDATE fairness_key SET finish = {now}; UPDATE fairness_clock SET now = {now}; ",
    );
    sql + COUNT
}
