-- A key that is deleted and comes back is the new row, whether in one batch or over several.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
delete from people where id = 1;
insert into people values (1, 'Eve');
-- run
delete from people where id = 1;
-- run
insert into people values (1, 'Mia');
-- run
-- expect events
--   INSERT  null  {"id": 1, "name": "Mia"}
-- expect rows
--   id | name
--   1  | Mia
