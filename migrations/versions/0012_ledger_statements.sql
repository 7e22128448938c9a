-- Records of the ledger that hold no entries of the database: what it says about its keys and its losses, and segments
-- that were lost. The bytes are what is hashed; nothing looks an entry up by them.
CREATE TABLE ledger_statements (
    seq BIGINT PRIMARY KEY,
    record BYTEA NOT NULL,
    CONSTRAINT ledger_statements_record_fits CHECK (octet_length(record) BETWEEN 25 AND 65535)
);

CREATE TRIGGER ledger_statements_append_only BEFORE UPDATE OR DELETE ON ledger_statements
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER ledger_statements_no_truncate BEFORE TRUNCATE ON ledger_statements
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

GRANT SELECT ON ledger_statements TO audit_writer, audit_archiver, audit_reader;
GRANT INSERT ON ledger_statements TO audit_archiver;
