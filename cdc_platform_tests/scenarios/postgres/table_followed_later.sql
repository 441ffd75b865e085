-- A table that is added to the configuration later takes its own snapshot, and the one before it goes on.
-- table: people
create table people (id int primary key, name text);
create table others (id int primary key, name text);
insert into people values (1, 'Ada');
insert into others values (1, 'x');
-- run
-- table: others
update people set name = 'Adele';
update others set name = 'y';
-- run
-- expect events others
--   INSERT  null  {"id": 1, "name": "y"}
-- expect events people
--   UPDATE  {"id": 1, "name": null}  {"id": 1, "name": "Adele"}
update others set name = 'z';
-- run
