//! Databases of earlier formats, built by their own migrations alone: what was in them is there after opening.

use rand_core::SeedableRng;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::{Database, FORMAT, MIGRATIONS, MemoryHandle, contacts, conversations, messages, open, open_memory, outbox};

const ROOM: wire::LogId = wire::LogId([7; 16]);

/// The tables, but for those of the search index.
fn tables(db: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'messages\\_%' ESCAPE '\\' \
               AND name NOT LIKE 'sqlite%' ORDER BY name";
    db.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn columns(db: &Connection, table: &str) -> Vec<(String, String)> {
    let mut statement = db.prepare(&format!("PRAGMA table_info({table})")).unwrap();
    let columns = statement.query_map([], |row| Ok((row.get(1)?, row.get(2)?))).unwrap();
    columns.map(Result::unwrap).collect()
}

fn rows(db: &Connection, table: &str, columns: &[(String, String)]) -> Vec<Vec<Value>> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut statement = db.prepare(&format!("SELECT {} FROM {table}", names.join(", "))).unwrap();
    let rows = statement.query_map([], |row| (0..names.len()).map(|at| row.get(at)).collect()).unwrap();
    rows.map(Result::unwrap).collect()
}

/// One row in each table, with values of lengths that the program reads.
fn fill(db: &Connection, format: i64) {
    for table in tables(db) {
        let columns = columns(db, &table);
        let values = columns.iter().map(|(name, kind)| match (name.as_str(), kind.as_str()) {
            ("address" | "peer" | "sender" | "inviter", _) => Value::Text("bob@a.example".into()),
            ("relay", _) => Value::Text("a.example".into()),
            ("extra" | "deleted_by", _) => Value::Text(String::new()),
            ("text", _) => Value::Text("what was said before".into()),
            (_, "TEXT") => Value::Text(format!("some {name}")),
            ("id", _) if table == "messages" => Value::Blob(vec![7; 32]),
            ("account_key" | "chain" | "message" | "commitment", _) => Value::Blob(vec![7; 32]),
            ("other_key" | "reply_to", _) => Value::Null,
            (_, "BLOB") => Value::Blob(vec![7; 16]),
            ("n", _) if table == "outbox" && format >= 4 => Value::Integer(outbox::numbers(ROOM).0 + 1),
            ("kind" | "hidden" | "edited", _) if table == "messages" => Value::Integer(0),
            _ => Value::Integer(1),
        });
        let values: Vec<Value> = values.collect();
        let places = vec!["?"; values.len()].join(", ");
        let sql = format!("INSERT INTO {table} VALUES ({places})");
        db.execute(&sql, rusqlite::params_from_iter(values)).unwrap_or_else(|error| panic!("{table}: {error}"));
    }
}

#[test]
fn what_older_versions_have_written_is_there_after_opening() {
    for format in 1..FORMAT {
        let name = format!("format {format}");
        let _held = MemoryHandle::new(&name).unwrap();
        let old = open_memory(&name).unwrap();
        for step in MIGRATIONS.iter().take(format as usize).copied().flatten() {
            old.execute_batch(step).unwrap();
        }
        fill(&old, format);
        old.pragma_update(None, "user_version", format).unwrap();
        let tables = tables(&old);
        let before: Vec<_> = tables.iter().map(|table| (table, columns(&old, table))).collect();
        // Rows of the outbox have got other numbers since, by which they are found below.
        let is_kept = |table: &str, column: &str| (table, column) != ("outbox", "n");
        let before: Vec<_> = before
            .into_iter()
            .map(|(table, columns)| {
                (table, columns.into_iter().filter(|(name, _)| is_kept(table, name)).collect::<Vec<_>>())
            })
            .collect();
        let before: Vec<_> =
            before.into_iter().map(|(table, columns)| (table, rows(&old, table, &columns), columns)).collect();
        assert!(before.len() > 15 && before.iter().all(|(_, rows, _)| rows.len() == 1), "each table has its row");
        drop(old);

        let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
        let db = open(&Database::Memory { name }, &mut rng).unwrap();
        let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(found, FORMAT);
        for (table, rows_before, columns) in &before {
            assert_eq!(&rows(&db, table, columns), rows_before, "{table} of format {format}");
        }
        // And the program reads it: people, conversations, what was said, and finds it.
        let bob = "bob@a.example".parse().unwrap();
        assert_eq!(contacts::get(&db, &bob).unwrap().unwrap().account_key, [7; 32]);
        assert_eq!(conversations::get(&db, ROOM).unwrap().unwrap().name, "some name");
        assert_eq!(conversations::members(&db, ROOM).unwrap().len(), 1);
        let message = messages::get(&db, ROOM, &[7; 32]).unwrap().unwrap();
        assert_eq!((message.sender.as_str(), message.hidden), ("bob@a.example", false));
        assert_eq!(messages::search(&db, "said", 10).unwrap().len(), 1);
        assert_eq!(messages::page(&db, ROOM, None, 10).unwrap().len(), 1);
        let waiting = outbox::list(&db, ROOM, 0, 10).unwrap();
        assert_eq!((waiting.len(), waiting[0].message), (1, Some([7; 32])));
        assert_eq!(outbox::sealed(&db, ROOM).unwrap(), [(wire::EntryId([7; 16]), waiting[0].n)]);
        assert!(outbox::push(&db, ROOM, None, &[], 1, false).unwrap() > waiting[0].n);
        db.execute("INSERT INTO messages_text (messages_text, rank) VALUES ('integrity-check', 1)", []).unwrap();
    }
}
