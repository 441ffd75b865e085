-- Rows changed by triggers and by foreign keys that cascade are changes like any other.
-- table: parents
-- table: children
create table parents (id int primary key, touched int not null default 0);
create table children (id int primary key, parent int references parents on delete cascade on update cascade);
create function touch() returns trigger language plpgsql as $$
begin
  update parents set touched = touched + 1 where id = new.parent;
  return new;
end $$;
create trigger touch after insert on children for each row execute function touch();
insert into parents values (1), (2);
insert into children values (1, 1), (2, 2);
-- run
insert into children values (3, 1);
update parents set id = 20 where id = 2;
delete from parents where id = 1;
-- run
-- expect rows children
--   id | parent
--   2  | 20
