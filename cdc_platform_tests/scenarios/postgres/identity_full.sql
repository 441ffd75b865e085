-- Replica identity FULL: `before` is the whole old row.
-- table: people
create table people (id int primary key, name text, note text);
alter table people replica identity full;
insert into people values (1, 'Ada', null), (2, 'Bob', '');
-- run
update people set note = 'x' where id = 1;
update people set note = null where id = 2;
delete from people where id = 1;
-- run
-- expect events
--   UPDATE  {"id": 1, "name": "Ada", "note": null}  {"id": 1, "name": "Ada", "note": "x"}
--   UPDATE  {"id": 2, "name": "Bob", "note": ""}    {"id": 2, "name": "Bob", "note": null}
--   DELETE  {"id": 1, "name": "Ada", "note": "x"}   null
