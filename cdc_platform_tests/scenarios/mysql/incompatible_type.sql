-- Text becomes a number. A clear stop, nothing is written, and the other table goes on.
-- table: people
-- table: others
create table people (id int primary key, age varchar(10));
create table others (id int primary key);
insert into people values (1, '36');
-- run
alter table people modify age int;
insert into people values (2, 40);
insert into others values (1);
-- run
-- expect stop 4 people: column 'age' changed from varchar(10) to int... at ...: a column of string cannot become int32; to keep string at the destination
-- expect nothing written people
