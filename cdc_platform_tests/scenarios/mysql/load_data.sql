-- LOAD DATA, logged as rows.
-- file: rows.csv
--   2,Bob
--   3,Cid
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada');
-- run
load data local infile '$folder/rows.csv' into table people fields terminated by ',';
-- run
-- expect events
--   INSERT  null  {"id": 2, "name": "Bob"}
--   INSERT  null  {"id": 3, "name": "Cid"}
