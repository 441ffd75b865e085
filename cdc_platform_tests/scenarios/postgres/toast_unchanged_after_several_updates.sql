-- A long value changes, then the row changes several times without it: the latest value counts, not the first.
-- table: documents
create table documents (id int primary key, title text, body text);
alter table documents alter column body set storage external;
insert into documents values (1, 'a', repeat('x', 10000));
-- run
update documents set title = 'b' where id = 1;
update documents set body = repeat('y', 10000) where id = 1;
update documents set title = 'c' where id = 1;
update documents set title = 'd' where id = 1;
-- run
update documents set body = 'short' where id = 1;
update documents set title = 'e' where id = 1;
-- run
-- expect rows
--   id | title | body
--   1  | e     | short
update documents set body = null where id = 1;
update documents set title = 'f' where id = 1;
-- run
-- expect rows
--   id | title | body
--   1  | f     | null
