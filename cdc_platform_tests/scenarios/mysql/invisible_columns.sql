-- Invisible columns are columns: a SELECT * lacks them, the destination does not.
-- table: people
create table people (id int primary key, name varchar(100), secret varchar(10) invisible default 'x');
insert into people (id, name) values (1, 'Ada');
insert into people (id, name, secret) values (2, 'Bob', 'y');
-- run
insert into people (id, name, secret) values (3, 'Cid', null);
update people set secret = 'z' where id = 1;
-- run
-- expect columns: id, name, secret
-- expect rows
--   id | secret
--   1  | z
--   2  | y
--   3  | null
