-- The INSERT and the UPDATE that leaves the long value out arrive together.
-- Elsewhere "still wrong when insert and update share a batch" (ingestr#805).
-- table: documents
create table documents (id int primary key, title text, body text);
alter table documents alter column body set storage external;
-- run
begin;
insert into documents values (1, 'a', repeat('x', 10000));
update documents set title = 'A' where id = 1;
commit;
insert into documents values (2, 'b', repeat('y', 10000));
update documents set title = 'B' where id = 2;
-- run
