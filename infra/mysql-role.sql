-- The least that capture needs on MySQL 8+ or MariaDB 10.6+: an account that reads one database and the binlog.
--
--   (printf "set @capture_password = '%s';\n" "$CAPTURE_PASSWORD"; cat infra/mysql-role.sql) | mysql -u root -p DATABASE
--
-- The password goes through the pipe, so that no process list shows it. '%' may be narrowed to the platform's host.
set @capture_account = '`cdc_capture`@`%`';
set @capture_schema = concat('`', replace(replace(database(), '`', '``'), '_', '\\_'), '`');

set @statement = concat('create user ', @capture_account, ' identified by ', quote(@capture_password));
prepare capture from @statement;
execute capture;

set @statement = concat('grant select on ', @capture_schema, '.* to ', @capture_account);
prepare capture from @statement;
execute capture;

-- RELOAD is for MySQL alone (MariaDB skips the comment): its consistent snapshot takes a short global read lock.
set @statement = concat('grant /*!80000 reload, */ replication slave, replication client on *.* to ', @capture_account);
prepare capture from @statement;
execute capture;

deallocate prepare capture;
set @statement = null, @capture_password = null;
