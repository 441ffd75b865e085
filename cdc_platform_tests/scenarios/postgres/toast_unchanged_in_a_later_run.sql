-- The long value came in by an UPDATE, runs ago; then another key took its row's place, and only then is it left out.
-- table: documents
create table documents (id int primary key, title text, body text, extra text);
alter table documents alter column body set storage external;
alter table documents alter column extra set storage external;
insert into documents values (1, 'a', 'short', null);
-- run
update documents set body = repeat('x', 10000) where id = 1;
-- run
update documents set extra = repeat('y', 10000) where id = 1;
-- run
delete from documents where id = 1;
insert into documents values (1, 'new', repeat('z', 10000), 'short');
-- run
update documents set title = 'newer' where id = 1;
-- run
