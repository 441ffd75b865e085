-- Replica identity FULL: the log has the old row whole, the long value of the new one is taken from there.
-- table: documents
create table documents (id int, title text, body text);
alter table documents alter column body set storage external;
alter table documents replica identity full;
insert into documents values (1, 'a', repeat('x', 10000));
-- run
update documents set title = 'A' where id = 1;
-- run
