-- The key changes and the long value does not: the value goes with the row to its new key.
-- table: documents
create table documents (id int primary key, title text, body text);
alter table documents alter column body set storage external;
insert into documents values (1, 'a', repeat('x', 10000)), (2, 'b', repeat('y', 10000));
-- run
update documents set id = 10 where id = 1;
-- run
begin;
update documents set id = 20 where id = 2;
update documents set title = 'B' where id = 20;
insert into documents values (2, 'c', repeat('z', 10000));
update documents set title = 'C' where id = 2;
commit;
-- run
