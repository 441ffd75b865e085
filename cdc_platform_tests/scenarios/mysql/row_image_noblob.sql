-- binlog_row_image = NOBLOB: long values that did not change are left out.
-- table: documents
create table documents (id int primary key, title varchar(100), body text, picture mediumblob);
insert into documents values (1, 'a', 'long', x'00ff'), (2, 'b', null, '');
-- run
set session binlog_row_image = 'NOBLOB';
update documents set title = 'A' where id = 1;
update documents set body = 'longer' where id = 2;
insert into documents values (3, 'c', 'new', x'01');
update documents set title = 'C' where id = 3;
-- run
-- expect rows
--   id | title | body
--   1  | A     | long
--   2  | b     | longer
--   3  | C     | new
