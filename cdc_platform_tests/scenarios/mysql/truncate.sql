-- TRUNCATE is one DELETE a row; in the binlog it is a statement.
-- table: people
-- table: readings
create table people (id int primary key, name varchar(100));
create table readings (sensor varchar(10), value int);
insert into people values (1, 'Ada'), (2, 'Bob');
insert into readings values ('a', 1), ('a', 1);
-- run
truncate people;
truncate table readings;
insert into people values (2, 'Eve');
insert into readings values ('a', 1);
-- run
-- expect events
--   DELETE  {"id": 1, "name": "Ada"}  null
--   DELETE  {"id": 2, "name": "Bob"}  null
--   INSERT  null                      {"id": 2, "name": "Eve"}
truncate people;
-- run
truncate people;
-- run
-- expect events
