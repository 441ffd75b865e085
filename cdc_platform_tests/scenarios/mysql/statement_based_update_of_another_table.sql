-- Statements about tables that are not followed are nobody's business.
-- table: people
create table people (id int primary key, name varchar(100));
create table others (id int primary key, name varchar(100));
insert into people values (1, 'Ada');
-- run
set session binlog_format = 'STATEMENT';
insert into others values (1, 'Ada');
update others set name = 'Eve';
set session binlog_format = 'ROW';
update people set name = 'Adele';
-- run
-- expect events
--   UPDATE  {"id": 1, "name": "Ada"}  {"id": 1, "name": "Adele"}
