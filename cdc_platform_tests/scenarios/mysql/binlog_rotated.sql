-- The log goes on in the next file, several times, in the middle of everything.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada');
-- run
update people set name = 'b' where id = 1;
flush binary logs;
update people set name = 'c' where id = 1;
flush binary logs;
flush binary logs;
-- run
-- expect events
--   UPDATE  {"id": 1, "name": "Ada"}  {"id": 1, "name": "b"}
--   UPDATE  {"id": 1, "name": "b"}    {"id": 1, "name": "c"}
