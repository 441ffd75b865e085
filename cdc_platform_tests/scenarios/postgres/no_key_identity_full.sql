-- A table without a key is followed as a history where Postgres logs whole old rows; equal rows are each a row.
-- table: readings
create table readings (sensor text, value float8, taken_at timestamptz);
alter table readings replica identity full;
insert into readings values ('a', 1.5, '2026-01-01 12:00+02'), ('a', 1.5, '2026-01-01 12:00+02'), ('b', null, null);
-- run
update readings set value = 2 where sensor = 'b';
delete from readings where ctid = (select min(ctid) from readings where sensor = 'a');
-- run
-- expect events
--   UPDATE  {"sensor": "b", "value": null, "taken_at": null}                        {"sensor": "b", "value": 2.0, "taken_at": null}
--   DELETE  {"sensor": "a", "value": 1.5, "taken_at": "2026-01-01T10:00:00.000000Z"}  null
