-- Keys that the server takes for the same where the lake does not: case and trailing spaces under its collation.
-- table: people
create table people (name varchar(20) character set utf8mb4 collate utf8mb4_general_ci primary key, age int);
insert into people values ('ada', 36), ('Bob', 40);
-- run
update people set name = 'ADA' where name = 'ada';
replace into people values ('BOB', 41);
-- run
-- expect rows
--   name | age
--   ADA  | 36
--   BOB  | 41
