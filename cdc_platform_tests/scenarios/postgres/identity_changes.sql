-- The replica identity changes while the table is followed, from default to full and back.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
update people set name = 'Adele' where id = 1;
alter table people replica identity full;
update people set name = 'Bobby' where id = 2;
-- run
-- expect events
--   UPDATE  {"id": 1, "name": null}   {"id": 1, "name": "Adele"}
--   UPDATE  {"id": 2, "name": "Bob"}  {"id": 2, "name": "Bobby"}
alter table people replica identity default;
delete from people where id = 2;
-- run
-- expect events
--   DELETE  {"id": 2, "name": null}  null
