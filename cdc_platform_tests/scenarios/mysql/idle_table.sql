-- A table without changes beside a busy one: its position moves on, and it is no worse for it.
-- table: idle
create table idle (id int primary key, name varchar(100));
create table busy (id int primary key auto_increment, filler text);
insert into idle values (1, 'Ada');
-- run
insert into busy (filler) values (repeat('x', 60000)), (repeat('x', 60000));
flush binary logs;
-- run
-- expect events
update idle set name = 'Adele';
-- run
-- expect events
--   UPDATE  {"id": 1, "name": "Ada"}  {"id": 1, "name": "Adele"}
