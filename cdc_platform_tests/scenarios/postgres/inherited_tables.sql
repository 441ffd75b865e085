-- A parent's own rows are its rows; those of the tables that inherit from it are theirs, although a SELECT shows them.
-- table: parents
-- table: children
create table parents (id int primary key, name text);
create table children (age int, primary key (id)) inherits (parents);
insert into parents values (1, 'Ada');
insert into children values (2, 'Bob', 5);
-- run
-- expect events
--   INSERT  null  {"id": 1, "name": "Ada"}
update parents set name = upper(name);
delete from parents where id = 1;
-- run
-- expect events
--   UPDATE  {"id": 1, "name": null}  {"id": 1, "name": "ADA"}
--   DELETE  {"id": 1, "name": null}  null
-- expect events children
--   UPDATE  {"id": 2, "name": null, "age": null}  {"id": 2, "name": "BOB", "age": 5}
