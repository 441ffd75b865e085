-- A session logs statements instead of rows: what they changed is found by comparing the table with its source.
-- table: people
create table people (id int primary key, name varchar(100), age int);
insert into people values (1, 'Ada', 36), (2, 'Bob', 40), (3, 'Cid', 20);
-- run
set session binlog_format = 'STATEMENT';
update people set age = age + 1 where id <= 2;
delete from people where id = 3;
insert into people values (4, 'Dan', 30);
set session binlog_format = 'ROW';
-- run
-- expect rows
--   id | name | age
--   1  | Ada  | 37
--   2  | Bob  | 41
--   4  | Dan  | 30
update people set age = 0 where id = 1;
-- run
-- expect events
--   UPDATE  {"id": 1, "name": "Ada", "age": 37}  {"id": 1, "name": "Ada", "age": 0}
