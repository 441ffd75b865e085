-- A table without a key is followed as a history; equal rows are each a row.
-- table: readings
create table readings (sensor varchar(10), value double, taken_at datetime(6));
insert into readings values ('a', 1.5, '2026-01-01 12:00'), ('a', 1.5, '2026-01-01 12:00'), ('b', null, null);
-- run
update readings set value = 2 where sensor = 'b';
delete from readings where sensor = 'a' limit 1;
-- run
-- expect events
--   UPDATE  {"sensor": "b", "value": null, "taken_at": null}                         {"sensor": "b", "value": 2.0, "taken_at": null}
--   DELETE  {"sensor": "a", "value": 1.5, "taken_at": "2026-01-01T12:00:00.000000"}  null
