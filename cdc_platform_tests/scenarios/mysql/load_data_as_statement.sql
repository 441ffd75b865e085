-- LOAD DATA, logged as a statement with the file beside it.
-- file: rows.csv
--   2,Bob
--   3,Cid
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada');
-- run
set session binlog_format = 'STATEMENT';
load data local infile '$folder/rows.csv' replace into table people fields terminated by ',';
set session binlog_format = 'ROW';
-- run
-- expect rows
--   id | name
--   1  | Ada
--   2  | Bob
--   3  | Cid
