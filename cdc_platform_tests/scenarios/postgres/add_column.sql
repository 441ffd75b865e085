-- A column that may be null is added: null in the rows that are there, its values from then on.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
alter table people add column age int;
-- run
-- expect rows
--   id | name | age
--   1  | Ada  | null
--   2  | Bob  | null
update people set age = 36 where id = 1;
insert into people values (3, 'Cid', 0);
-- run
-- expect events
--   UPDATE  {"id": 1, "name": null, "age": null}  {"id": 1, "name": "Ada", "age": 36}
--   INSERT  null                                  {"id": 3, "name": "Cid", "age": 0}
-- expect columns: id, name, age
