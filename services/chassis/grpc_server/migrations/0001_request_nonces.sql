-- Nonces of signed requests, shared by all instances of a service, so that a request is accepted once.
CREATE TABLE request_nonces (
    did text NOT NULL,
    nonce text NOT NULL,
    expires_at_ms bigint NOT NULL,
    PRIMARY KEY (did, nonce)
);

CREATE INDEX request_nonces_expiry ON request_nonces (expires_at_ms);
