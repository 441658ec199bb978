CREATE FUNCTION public.dobmi_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'append only: %', TG_TABLE_NAME; END $$;
CREATE TABLE public.anomalies (
    id bigint NOT NULL,
    subject character varying(120) NOT NULL,
    kind character varying(40) NOT NULL,
    card_uid bytea,
    terminal_id bigint,
    amount_rupiah bigint,
    detail character varying(400) NOT NULL,
    at bigint NOT NULL
);
CREATE SEQUENCE public.anomalies_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.anomalies_id_seq OWNED BY public.anomalies.id;
CREATE TABLE public.batches (
    batch_hash bytea NOT NULL,
    terminal_id bigint NOT NULL,
    acknowledgement bytea NOT NULL,
    received_at bigint NOT NULL
);
CREATE TABLE public.card_transactions (
    card_uid bytea NOT NULL,
    counter bigint NOT NULL,
    kind integer NOT NULL,
    terminal_id bigint NOT NULL,
    sequence bigint NOT NULL,
    previous_terminal_id bigint,
    previous_sequence bigint,
    amount_rupiah bigint NOT NULL,
    balance_before_rupiah bigint NOT NULL,
    balance_after_rupiah bigint NOT NULL,
    card_mac_verified boolean NOT NULL,
    at bigint NOT NULL,
    CONSTRAINT amount_is_positive CHECK ((amount_rupiah > 0)),
    CONSTRAINT counter_starts_at_1 CHECK ((counter > 0))
);
CREATE TABLE public.cards (
    uid bytea NOT NULL,
    serial bigint NOT NULL,
    member_number bigint NOT NULL,
    state character varying(10) NOT NULL,
    expires_on_day integer NOT NULL,
    mac_key_version integer NOT NULL,
    key_version integer NOT NULL,
    registered_at bigint NOT NULL,
    issued_at bigint,
    block_reason character varying(200) NOT NULL,
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['issuing'::character varying, 'active'::character varying, 'blocked'::character varying, 'replaced'::character varying])::text[])))
);
CREATE TABLE public.counters (
    name character varying(40) NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.credit_attempts (
    id bigint NOT NULL,
    card_uid bytea NOT NULL,
    sequence bigint NOT NULL,
    evidence bytea NOT NULL,
    at bigint NOT NULL,
    counter bigint,
    searched_to bigint NOT NULL
);
CREATE SEQUENCE public.credit_attempts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.credit_attempts_id_seq OWNED BY public.credit_attempts.id;
CREATE TABLE public.credit_settlements (
    card_uid bytea NOT NULL,
    sequence bigint NOT NULL,
    counter bigint NOT NULL,
    settled_by character varying(80) NOT NULL,
    reason character varying(200) NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE public.doubt_decisions (
    terminal_id bigint NOT NULL,
    sequence bigint NOT NULL,
    voucher_sequence bigint NOT NULL,
    paid boolean NOT NULL,
    decided_by character varying(80) NOT NULL,
    reason character varying(200) NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE public.doubt_settlements (
    id bigint NOT NULL,
    terminal_id bigint NOT NULL,
    sequence bigint NOT NULL,
    state character varying(10) NOT NULL,
    rule character varying(40) NOT NULL,
    explanation character varying(200) NOT NULL,
    at bigint NOT NULL
);
CREATE SEQUENCE public.doubt_settlements_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.doubt_settlements_id_seq OWNED BY public.doubt_settlements.id;
CREATE TABLE public.hotlist_changes (
    version bigint NOT NULL,
    card_uid bytea NOT NULL,
    blocked boolean NOT NULL,
    reason character varying(200) NOT NULL,
    by_terminal bigint,
    at bigint NOT NULL
);
CREATE TABLE public.in_doubt (
    terminal_id bigint NOT NULL,
    sequence bigint NOT NULL,
    card_uid bytea NOT NULL,
    amount_rupiah bigint NOT NULL,
    evidence bytea NOT NULL,
    at bigint NOT NULL,
    state character varying(10) NOT NULL,
    settled_by character varying(12) NOT NULL,
    explanation character varying(200) NOT NULL,
    counter bigint,
    searched_to bigint NOT NULL,
    claimed_paid boolean NOT NULL,
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['open'::character varying, 'paid'::character varying, 'not_paid'::character varying, 'disputed'::character varying, 'suspended'::character varying])::text[])))
);
CREATE TABLE public.invitations (
    code_hash bytea NOT NULL,
    role character varying(10) NOT NULL,
    name character varying(80) NOT NULL,
    seller character varying(80) NOT NULL,
    expires_at bigint NOT NULL,
    used_by bigint,
    CONSTRAINT role_known CHECK (((role)::text = ANY ((ARRAY['till'::character varying, 'station'::character varying])::text[])))
);
CREATE TABLE public.members (
    member_number bigint NOT NULL,
    name character varying(80) NOT NULL
);
CREATE TABLE public.pending_credits (
    card_uid bytea NOT NULL,
    sequence bigint NOT NULL,
    amount_rupiah bigint NOT NULL,
    source character varying(10) NOT NULL,
    ordered_by bigint,
    idempotency_key character varying(80) NOT NULL,
    ordered_at bigint NOT NULL,
    state character varying(10) NOT NULL,
    counter bigint,
    mac bytea,
    seen_at bigint,
    seen_counter bigint,
    CONSTRAINT amount_is_positive CHECK ((amount_rupiah > 0)),
    CONSTRAINT source_known CHECK (((source)::text = ANY ((ARRAY['cash'::character varying, 'salary'::character varying, 'refund'::character varying, 'restored'::character varying])::text[]))),
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['pending'::character varying, 'in_doubt'::character varying, 'delivered'::character varying, 'assumed'::character varying, 'moved'::character varying])::text[])))
);
CREATE TABLE public.postings (
    id bigint NOT NULL,
    kind character varying(20) NOT NULL,
    debit_account character varying(100) NOT NULL,
    credit_account character varying(100) NOT NULL,
    amount_rupiah bigint NOT NULL,
    at bigint NOT NULL,
    card_uid bytea NOT NULL,
    terminal_id bigint NOT NULL,
    sequence bigint NOT NULL,
    explanation character varying(200) NOT NULL,
    CONSTRAINT amount_is_positive CHECK ((amount_rupiah > 0)),
    CONSTRAINT two_accounts CHECK (((debit_account)::text <> (credit_account)::text))
);
CREATE SEQUENCE public.postings_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.postings_id_seq OWNED BY public.postings.id;
CREATE TABLE public.refunds (
    terminal_id bigint NOT NULL,
    sequence bigint NOT NULL,
    sale_sequence bigint NOT NULL,
    card_uid bytea NOT NULL,
    amount_rupiah bigint NOT NULL,
    reason character varying(200) NOT NULL,
    supervisor character varying(80) NOT NULL,
    at bigint NOT NULL,
    state character varying(10) NOT NULL,
    explanation character varying(200) NOT NULL,
    credit_card_uid bytea,
    credit_sequence bigint,
    CONSTRAINT amount_is_positive CHECK ((amount_rupiah > 0)),
    CONSTRAINT ordered_is_a_credit CHECK ((((state)::text = 'ordered'::text) = (credit_sequence IS NOT NULL))),
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['waiting'::character varying, 'ordered'::character varying, 'refused'::character varying])::text[])))
);
CREATE TABLE public.rejected_batches (
    batch_hash bytea NOT NULL,
    code character varying(40) NOT NULL,
    detail character varying(400) NOT NULL,
    size_bytes bigint NOT NULL,
    content bytea,
    received_at bigint NOT NULL
);
CREATE TABLE public.replacements (
    card_uid bytea NOT NULL,
    reason character varying(200) NOT NULL,
    by_terminal bigint,
    at bigint NOT NULL,
    block_version bigint NOT NULL,
    safe_at bigint,
    safe_by character varying(80) NOT NULL
);
CREATE TABLE public.request_nonces (
    terminal_id bigint NOT NULL,
    nonce bytea NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE public.restorations (
    version_after bigint NOT NULL,
    version_before bigint NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE public.schema_version (
    version integer NOT NULL
);
CREATE TABLE public.terminals (
    id bigint NOT NULL,
    name character varying(80) NOT NULL,
    role character varying(10) NOT NULL,
    seller character varying(80) NOT NULL,
    public_key bytea NOT NULL,
    status character varying(10) NOT NULL,
    head_sequence bigint NOT NULL,
    head_hash bytea NOT NULL,
    enrolled_at bigint NOT NULL,
    feed_version bigint NOT NULL,
    feed_at bigint,
    CONSTRAINT role_known CHECK (((role)::text = ANY ((ARRAY['till'::character varying, 'station'::character varying])::text[]))),
    CONSTRAINT status_known CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'blocked'::character varying])::text[]))),
    CONSTRAINT terminal_0_is_the_central_server CHECK ((id > 0))
);
CREATE TABLE public.vouchers (
    terminal_id bigint NOT NULL,
    sequence bigint NOT NULL,
    hash bytea NOT NULL,
    previous_hash bytea NOT NULL,
    kind integer NOT NULL,
    card_uid bytea NOT NULL,
    encoded bytea NOT NULL,
    received_at bigint NOT NULL,
    status character varying(12) NOT NULL,
    reason character varying(40) NOT NULL,
    detail character varying(200) NOT NULL,
    CONSTRAINT quarantined_has_a_reason CHECK ((((status)::text = 'quarantined'::text) = ((reason)::text <> ''::text))),
    CONSTRAINT status_known CHECK (((status)::text = ANY ((ARRAY['posted'::character varying, 'noted'::character varying, 'quarantined'::character varying])::text[])))
);
ALTER TABLE ONLY public.anomalies ALTER COLUMN id SET DEFAULT nextval('public.anomalies_id_seq'::regclass);
ALTER TABLE ONLY public.credit_attempts ALTER COLUMN id SET DEFAULT nextval('public.credit_attempts_id_seq'::regclass);
ALTER TABLE ONLY public.doubt_settlements ALTER COLUMN id SET DEFAULT nextval('public.doubt_settlements_id_seq'::regclass);
ALTER TABLE ONLY public.postings ALTER COLUMN id SET DEFAULT nextval('public.postings_id_seq'::regclass);
INSERT INTO public.anomalies VALUES (1, '2/2', 'wrong-card-mac', '\x043655ca59b7d5', 2, 800, '', 1800086400);
INSERT INTO public.anomalies VALUES (2, '2/5', 'refund-too-much', '\x043655ca59b7d5', 2, 100000, 'Rp 100.400 of a sale of Rp 900', 1800086400);
INSERT INTO public.anomalies VALUES (3, '04c69d416dd731/3', 'balance-does-not-follow', '\x04c69d416dd731', 2, 1111, 'before transaction 3 by 2/6: Rp 1.111 missing', 1800086400);
INSERT INTO public.anomalies VALUES (4, '04c69d416dd731/4', 'balance-does-not-follow', '\x04c69d416dd731', 2, -2222, 'before transaction 4 by 2/7: -Rp 2.222 missing', 1800086400);
INSERT INTO public.batches VALUES ('\x0a8a5fe1c2cd6449823213ac47d709de37f0652978c6666ef70514b11ac06355', 1, '\xd284581aa30127036b646f626d692f61636b2f3104483768240dd3924801a05855a7010102010358200a8a5fe1c2cd6449823213ac47d709de37f0652978c6666ef70514b11ac063550407055820c17f5122aa13becad522e7dcfbba3ae034315c4a029f8d75c54b8d66d04cfee4061a6b49d200078058407f710483948844df94cb9eb1de9592929943409d8749552acb6311baea1a9194a5ad6bb422912c5cac78ad70ea9a3c5ad05c21b97c9b57c7bedf81eff9e3340f', 1800000000);
INSERT INTO public.batches VALUES ('\x4a2c9af59fd87514703c6cfa04a3dd3f796fe142609137591679e825939bc037', 1, '\xd284581aa30127036b646f626d692f61636b2f3104483768240dd3924801a05855a7010102010358204a2c9af59fd87514703c6cfa04a3dd3f796fe142609137591679e825939bc037040f05582006c20f0fb8fd15e488df8ba0134bd011daad6c76506c6ae1b58fed21fb2cd954061a6b4b23800780584004df0cbf012a727e9010910ffac75d6bbecdda74de72358c8b2141651eb18a9981fbc0652314ad928bd0d41ab8caf6087de595d3f84a5493b43ee17459aa5a06', 1800086400);
INSERT INTO public.batches VALUES ('\x409a73afb8a7ebee83eebc9b7fd0227760c3409717f295da5a1ffac65ddee22d', 2, '\xd284581aa30127036b646f626d692f61636b2f3104483768240dd3924801a05878a701010202035820409a73afb8a7ebee83eebc9b7fd0227760c3409717f295da5a1ffac65ddee22d04050558205c080a083c77c20a0692b187e7a1fa7ad6619b7cecc6cc8c5ba8efddd934a25d061a6b4b2380078282026e77726f6e672d636172642d6d616382056f726566756e642d746f6f2d6d75636858409eda6ccd30b59e7ca8d0bbc023d05b61c06c770f5b2c9687137c8674afa4e14b049ea7471b28be1b8d599881af59fb0cfbd723d1b7c34fc0cf2d7e755b19ac0f', 1800086400);
INSERT INTO public.batches VALUES ('\x1316cb0dfe47cc584d3d258fc920da9b08cfb0f6ee0a6fc7d4b3761acc6438a0', 2, '\xd284581aa30127036b646f626d692f61636b2f3104483768240dd3924801a05855a7010102020358201316cb0dfe47cc584d3d258fc920da9b08cfb0f6ee0a6fc7d4b3761acc6438a00407055820870e49109d9c31c8add10f83545f5f56a1c1621ed351d659a40ac1f6e9f86c5b061a6b4b2380078058404d0312f488a55db7cfde519b10f4c42cb70deda50898c0bdb2ccf9d5c503bd5b593ba81b335c2df89b5e3d1698d1aeeccd58c8112e617f4cb1341e5a1f0dfd0a', 1800086400);
INSERT INTO public.batches VALUES ('\x53ebea52bbff8f06c536f6c9b85a1bf4b09fc8337ad2f9b02a3373540c10b03e', 1, '\xd284581aa30127036b646f626d692f61636b2f3104483768240dd3924801a05855a70101020103582053ebea52bbff8f06c536f6c9b85a1bf4b09fc8337ad2f9b02a3373540c10b03e0410055820801b3e59b1e76bfe59fb9b97c14bb54c3b7ab860b19822580352c0d352f878a5061a6b4c750007805840f42b3ee297884d30571d37e15283aef4d98c8dd0678439bf49b5a52f4386f4c26fa87dc9d80f6d989e74b97d4f36273cc4837b80734a619fb37a7ad2bfeb3c07', 1800172800);
INSERT INTO public.card_transactions VALUES ('\x043655ca59b7d5', 1, 2, 0, 1, NULL, NULL, 100000, 0, 100000, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x041f5ff885ceb5', 1, 2, 0, 1, NULL, NULL, 100000, 0, 100000, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x0431b8a7e9f916', 1, 2, 0, 1, NULL, NULL, 100000, 0, 100000, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x041ebc2c57112b', 1, 2, 0, 1, NULL, NULL, 100000, 0, 100000, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x04c69d416dd731', 1, 2, 0, 1, NULL, NULL, 100000, 0, 100000, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x0453c926c91de5', 1, 2, 0, 1, NULL, NULL, 100000, 0, 100000, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x04c1b8c72a63af', 1, 2, 0, 1, NULL, NULL, 100000, 0, 100000, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x043655ca59b7d5', 2, 1, 1, 1, 0, 1, 1000, 100000, 99000, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x041f5ff885ceb5', 2, 1, 1, 2, 0, 1, 1001, 100000, 98999, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x0431b8a7e9f916', 2, 1, 1, 3, 0, 1, 1002, 100000, 98998, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x041ebc2c57112b', 2, 1, 1, 4, 0, 1, 1003, 100000, 98997, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x04c69d416dd731', 2, 1, 1, 5, 0, 1, 1004, 100000, 98996, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x0453c926c91de5', 2, 1, 1, 6, 0, 1, 1005, 100000, 98995, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x04c1b8c72a63af', 2, 1, 1, 7, 0, 1, 1006, 100000, 98994, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x0431b8a7e9f916', 4, 1, 1, 12, 1, 11, 500, 94498, 93998, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x043655ca59b7d5', 3, 1, 1, 8, 1, 1, 2500, 99000, 96500, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x0431b8a7e9f916', 3, 1, 1, 11, 1, 3, 4500, 98998, 94498, false, 1800086400);
INSERT INTO public.card_transactions VALUES ('\x041f5ff885ceb5', 3, 1, 2, 1, 1, 2, 600, 98999, 98399, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x043655ca59b7d5', 4, 1, 2, 3, 1, 8, 900, 96500, 95600, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x04c69d416dd731', 3, 1, 2, 6, 1, 5, 50, 97885, 97835, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x04c69d416dd731', 4, 1, 2, 7, 2, 6, 60, 100057, 99997, true, 1800000000);
INSERT INTO public.card_transactions VALUES ('\x0431b8a7e9f916', 6, 1, 1, 16, 2, 8, 100, 92764, 92664, true, 1800000000);
INSERT INTO public.cards VALUES ('\x043655ca59b7d5', 1, 100, 'active', 22280, 1, 1, 1800000000, 1800000000, '');
INSERT INTO public.cards VALUES ('\x041f5ff885ceb5', 2, 101, 'active', 22280, 1, 1, 1800000000, 1800000000, '');
INSERT INTO public.cards VALUES ('\x0431b8a7e9f916', 3, 102, 'active', 22280, 1, 1, 1800000000, 1800000000, '');
INSERT INTO public.cards VALUES ('\x041ebc2c57112b', 4, 103, 'active', 22280, 1, 1, 1800000000, 1800000000, '');
INSERT INTO public.cards VALUES ('\x04c1b8c72a63af', 7, 106, 'active', 22280, 1, 1, 1800000000, 1800000000, '');
INSERT INTO public.cards VALUES ('\x0453c926c91de5', 6, 105, 'replaced', 22280, 1, 1, 1800000000, 1800000000, 'hilang di pasar');
INSERT INTO public.cards VALUES ('\x04c69d416dd731', 5, 104, 'blocked', 22280, 1, 1, 1800000000, 1800000000, 'kartu aneh');
INSERT INTO public.cards VALUES ('\x04a2be858dcfa5', 8, 105, 'active', 22280, 1, 1, 1800000000, 1800000000, '');
INSERT INTO public.counters VALUES ('terminal', 3);
INSERT INTO public.counters VALUES ('credit:0431b8a7e9f916', 1);
INSERT INTO public.counters VALUES ('credit:041ebc2c57112b', 1);
INSERT INTO public.counters VALUES ('credit:04c69d416dd731', 1);
INSERT INTO public.counters VALUES ('credit:043655ca59b7d5', 2);
INSERT INTO public.counters VALUES ('rejected-rows:terminal:2', 1);
INSERT INTO public.counters VALUES ('rejected-bytes:terminal:2', 677);
INSERT INTO public.counters VALUES ('credit:04c1b8c72a63af', 2);
INSERT INTO public.counters VALUES ('credit:0453c926c91de5', 2);
INSERT INTO public.counters VALUES ('credit:041f5ff885ceb5', 2);
INSERT INTO public.counters VALUES ('hotlist', 2);
INSERT INTO public.counters VALUES ('card-serial', 8);
INSERT INTO public.credit_attempts VALUES (1, '\x043655ca59b7d5', 1, '\xc844424d49000000000000000000000001ce2816658f05e4cc3eddfc362cfdc822000000000000000000000000000000ad040000001000000000000000000000000000000000000000000000000000006c0200000000000000000000000000000c02a0860100000000000000000000008b03000000200000000000000000000002000000000000000000000001000186a0000186a06b49d200000000000000008d04000000100000000000000000000001000000000000010000000000000000', 1800000000, NULL, 0);
INSERT INTO public.credit_attempts VALUES (2, '\x041f5ff885ceb5', 1, '\xc844424d49000000000000000000000001caa99a88b54f2ecc8c350394fa36de59000000000000000000000000000000ad040000001000000000000000000000000000000000000000000000000000006c0200000000000000000000000000000c02a0860100000000000000000000008b03000000200000000000000000000002000000000000000000000001000186a0000186a06b49d200000000000000008d04000000100000000000000000000001000000000000010000000000000000', 1800000000, NULL, 0);
INSERT INTO public.credit_attempts VALUES (3, '\x0431b8a7e9f916', 1, '\xc844424d49000000000000000000000001fe77f407986b2e8abe0d35387c332e7c000000000000000000000000000000ad040000001000000000000000000000000000000000000000000000000000006c0200000000000000000000000000000c02a0860100000000000000000000008b03000000200000000000000000000002000000000000000000000001000186a0000186a06b49d200000000000000008d04000000100000000000000000000001000000000000010000000000000000', 1800000000, NULL, 0);
INSERT INTO public.credit_attempts VALUES (4, '\x041ebc2c57112b', 1, '\xc844424d4900000000000000000000000161c8fcb1d0ca22270416e47f838da8a2000000000000000000000000000000ad040000001000000000000000000000000000000000000000000000000000006c0200000000000000000000000000000c02a0860100000000000000000000008b03000000200000000000000000000002000000000000000000000001000186a0000186a06b49d200000000000000008d04000000100000000000000000000001000000000000010000000000000000', 1800000000, NULL, 0);
INSERT INTO public.credit_attempts VALUES (5, '\x04c69d416dd731', 1, '\xc844424d49000000000000000000000001bb357d8551ca27eae5f60d34c66ae86f000000000000000000000000000000ad040000001000000000000000000000000000000000000000000000000000006c0200000000000000000000000000000c02a0860100000000000000000000008b03000000200000000000000000000002000000000000000000000001000186a0000186a06b49d200000000000000008d04000000100000000000000000000001000000000000010000000000000000', 1800000000, NULL, 0);
INSERT INTO public.credit_attempts VALUES (6, '\x0453c926c91de5', 1, '\xc844424d49000000000000000000000001e505517ed3ad8788370f512aff9a5317000000000000000000000000000000ad040000001000000000000000000000000000000000000000000000000000006c0200000000000000000000000000000c02a0860100000000000000000000008b03000000200000000000000000000002000000000000000000000001000186a0000186a06b49d200000000000000008d04000000100000000000000000000001000000000000010000000000000000', 1800000000, NULL, 0);
INSERT INTO public.credit_attempts VALUES (7, '\x04c1b8c72a63af', 1, '\xc844424d49000000000000000000000001e3975a1d6f5043bb385d7d021c9e1d01000000000000000000000000000000ad040000001000000000000000000000000000000000000000000000000000006c0200000000000000000000000000000c02a0860100000000000000000000008b03000000200000000000000000000002000000000000000000000001000186a0000186a06b49d200000000000000008d04000000100000000000000000000001000000000000010000000000000000', 1800000000, NULL, 0);
INSERT INTO public.credit_attempts VALUES (8, '\x041f5ff885ceb5', 2, '\xc844424d4900000000000000000000000217f0c95ce125cb53178a98f3142f3d17000000000000000000000000000000ad040000001000000000000000000000010000000000000100000000000000006c025f800100000000000000000000000c02581b0000000000000000000000008b0300000020000000000000000000000200000000000000000000000200001b5800019bb76b49d200000000000000008d04000000100000000000000000000001000000000000020000000000000000', 1800172800, 4, 67);
INSERT INTO public.doubt_decisions VALUES (1, 14, 15, true, 'Ani', 'barang dibawa', 1800000000);
INSERT INTO public.doubt_settlements VALUES (1, 1, 8, 'paid', 'card-mac', 'the card''s MAC, in voucher 9', 1800086400);
INSERT INTO public.doubt_settlements VALUES (2, 1, 11, 'paid', 'card', 'the card''s transaction 3 was this sale', 1800086400);
INSERT INTO public.doubt_settlements VALUES (3, 1, 10, 'not_paid', 'card', 'the card''s transaction 3 was another', 1800086400);
INSERT INTO public.hotlist_changes VALUES (1, '\x0453c926c91de5', true, 'hilang di pasar', 3, 1800172800);
INSERT INTO public.hotlist_changes VALUES (2, '\x04c69d416dd731', true, 'kartu aneh', NULL, 1800172800);
INSERT INTO public.in_doubt VALUES (1, 8, '\x043655ca59b7d5', 2500, '\xc844424d490000000100000000000000087575c45e1ac2664733690f5952ad9c28000000000000000000000000000000ad010000007000000000000000000000010100000064000000015708416e67676f74612031303000000000000000000000000000000000000000000000000000057b9c437660446f5dfeddbd81a89d5300959fcb6612db2b8dacefbab9cb10a9235719cc635a3d15bb6e88cd8bb5c34f4d378375a376f419e81a177f4bd4560e6c02b882010000000000000000000000dc02c4090000000000000000000000008b03000000200000000000000000000001000000010000000000000008000009c4000178f46b49d20000000000000000', 1800000000, 'paid', 'resolution', 'the card''s MAC, in voucher 9', 3, 0, false);
INSERT INTO public.in_doubt VALUES (1, 14, '\x041ebc2c57112b', 5500, '\xc844424d4900000001000000000000000e2c9900e13a7b2cdde5c0e16b55531d03000000000000000000000000000000ad010000007000000000000000000000010100000067000000045708416e67676f746120313033000000000000000000000000000000000000000000000000002b5b9b6446f8a5663a328529656754745445f2bf64979fadb3c461d14c37d1de5f9e68fc69bdbdc406b30b268d0e91cf6286497f3df3dd1d822e1f983b1e150f6c02b582010000000000000000000000dc027c150000000000000000000000008b0300000020000000000000000000000100000001000000000000000e0000157c00016d396b49d20000000000000000', 1800000000, 'open', '', 'PAID, says supervisor Ani in voucher 15; the card has yet to vouch for it', 3, 66, true);
INSERT INTO public.in_doubt VALUES (1, 11, '\x0431b8a7e9f916', 4500, '\xc844424d4900000001000000000000000b9973b7c52931bea99bbcce5312eb09d2000000000000000000000000000000ad010000007000000000000000000000010100000066000000035708416e67676f746120313032000000000000000000000000000000000000000000000000002b5b3d1bc542061dfb2b2c86d191d7e68204fe153ca8fc846a30ac7068b795cb431db8ecefda166549c633115f186df40ee76efc4deff0ba2957dac7cb9d5d0b6c02b682010000000000000000000000dc0294110000000000000000000000008b0300000020000000000000000000000100000001000000000000000b00001194000171226b49d20000000000000000', 1800000000, 'paid', 'card', 'the card''s transaction 3 was this sale', 3, 68, false);
INSERT INTO public.in_doubt VALUES (1, 10, '\x041f5ff885ceb5', 3500, '\xc844424d4900000001000000000000000a8865bc789a402e4ec3efac526122c70e000000000000000000000000000000ad010000007000000000000000000000010100000065000000025708416e67676f74612031303100000000000000000000000000000000000000000000000000f6abe5d89c62411fea1ac39d8058f2c580bb19292bcb423bb303425c35f39c0c0cd14b963730f93dfa1ae450500db337990cf6ffe759f3b8c98488b9d6a68b0f6c02b782010000000000000000000000dc02ac0d0000000000000000000000008b0300000020000000000000000000000100000001000000000000000a00000dac0001750b6b49d20000000000000000', 1800000000, 'not_paid', 'card', 'the card''s transaction 3 was another', 3, 66, false);
INSERT INTO public.invitations VALUES ('\x9ae4626131e84fc13e101ae85e7c176a76d0fb84daf908ba592de9293c7ffd9e', 'till', 'Kasir 1', 'Toko Satu', 1800086400, 1);
INSERT INTO public.invitations VALUES ('\x29fb57167da78e3fa2614c9c5a2d0cb2338172b0bd7524450218bb863936ab8d', 'till', 'Kasir 2', 'Toko ''Dua'' & Ibu Ñ', 1800086400, 2);
INSERT INTO public.invitations VALUES ('\x67541e72e23be5d2533cd796992e5f89df2279fe0191a424a6eabff019a20bbf', 'station', 'Loket 1', 'Toko BMI', 1800086400, 3);
INSERT INTO public.members VALUES (100, 'Anggota 100');
INSERT INTO public.members VALUES (101, 'Anggota 101');
INSERT INTO public.members VALUES (102, 'Anggota 102');
INSERT INTO public.members VALUES (103, 'Anggota 103');
INSERT INTO public.members VALUES (104, 'Anggota 104');
INSERT INTO public.members VALUES (105, 'Anggota 105');
INSERT INTO public.members VALUES (106, 'Anggota 106');
INSERT INTO public.pending_credits VALUES ('\x043655ca59b7d5', 1, 100000, 'cash', 3, 'order-00000001', 1800000000, 'delivered', 1, '\x9d35891656ecf1fe', NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x041f5ff885ceb5', 1, 100000, 'cash', 3, 'order-00000002', 1800000000, 'delivered', 1, '\x5182246b940f78d4', NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x0431b8a7e9f916', 1, 100000, 'cash', 3, 'order-00000003', 1800000000, 'delivered', 1, '\x5827707ff4f0c0e8', NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x041ebc2c57112b', 1, 100000, 'cash', 3, 'order-00000004', 1800000000, 'delivered', 1, '\x867f40cbfef3d443', NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x04c69d416dd731', 1, 100000, 'cash', 3, 'order-00000005', 1800000000, 'delivered', 1, '\xe0341a375a591e9d', NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x0453c926c91de5', 1, 100000, 'cash', 3, 'order-00000006', 1800000000, 'delivered', 1, '\xa05ee35417b8b378', NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x04c1b8c72a63af', 1, 100000, 'cash', 3, 'order-00000007', 1800000000, 'delivered', 1, '\x76d6cfeeaecac24f', NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x043655ca59b7d5', 2, 400, 'refund', 2, 'dobmi:refund:2/4', 1800086400, 'pending', NULL, NULL, NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x04c1b8c72a63af', 2, 25000, 'salary', 3, 'gaji-2027-01-0', 1800172800, 'pending', NULL, NULL, NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x0453c926c91de5', 2, 25001, 'salary', 3, 'gaji-2027-01-1', 1800172800, 'pending', NULL, NULL, NULL, NULL);
INSERT INTO public.pending_credits VALUES ('\x041f5ff885ceb5', 2, 7000, 'cash', 3, 'order-00000008', 1800172800, 'in_doubt', NULL, NULL, NULL, NULL);
INSERT INTO public.postings VALUES (1, 'top-up', 'cash:3', 'in-flight:043655ca59b7d5', 100000, 1800000000, '\x043655ca59b7d5', 0, 1, '');
INSERT INTO public.postings VALUES (2, 'delivered', 'in-flight:043655ca59b7d5', 'card:043655ca59b7d5', 100000, 1800000000, '\x043655ca59b7d5', 0, 1, '');
INSERT INTO public.postings VALUES (3, 'top-up', 'cash:3', 'in-flight:041f5ff885ceb5', 100000, 1800000000, '\x041f5ff885ceb5', 0, 1, '');
INSERT INTO public.postings VALUES (4, 'delivered', 'in-flight:041f5ff885ceb5', 'card:041f5ff885ceb5', 100000, 1800000000, '\x041f5ff885ceb5', 0, 1, '');
INSERT INTO public.postings VALUES (5, 'top-up', 'cash:3', 'in-flight:0431b8a7e9f916', 100000, 1800000000, '\x0431b8a7e9f916', 0, 1, '');
INSERT INTO public.postings VALUES (6, 'delivered', 'in-flight:0431b8a7e9f916', 'card:0431b8a7e9f916', 100000, 1800000000, '\x0431b8a7e9f916', 0, 1, '');
INSERT INTO public.postings VALUES (7, 'top-up', 'cash:3', 'in-flight:041ebc2c57112b', 100000, 1800000000, '\x041ebc2c57112b', 0, 1, '');
INSERT INTO public.postings VALUES (8, 'delivered', 'in-flight:041ebc2c57112b', 'card:041ebc2c57112b', 100000, 1800000000, '\x041ebc2c57112b', 0, 1, '');
INSERT INTO public.postings VALUES (9, 'top-up', 'cash:3', 'in-flight:04c69d416dd731', 100000, 1800000000, '\x04c69d416dd731', 0, 1, '');
INSERT INTO public.postings VALUES (10, 'delivered', 'in-flight:04c69d416dd731', 'card:04c69d416dd731', 100000, 1800000000, '\x04c69d416dd731', 0, 1, '');
INSERT INTO public.postings VALUES (11, 'top-up', 'cash:3', 'in-flight:0453c926c91de5', 100000, 1800000000, '\x0453c926c91de5', 0, 1, '');
INSERT INTO public.postings VALUES (12, 'delivered', 'in-flight:0453c926c91de5', 'card:0453c926c91de5', 100000, 1800000000, '\x0453c926c91de5', 0, 1, '');
INSERT INTO public.postings VALUES (13, 'top-up', 'cash:3', 'in-flight:04c1b8c72a63af', 100000, 1800000000, '\x04c1b8c72a63af', 0, 1, '');
INSERT INTO public.postings VALUES (14, 'delivered', 'in-flight:04c1b8c72a63af', 'card:04c1b8c72a63af', 100000, 1800000000, '\x04c1b8c72a63af', 0, 1, '');
INSERT INTO public.postings VALUES (15, 'sale', 'card:043655ca59b7d5', 'outlet:Toko Satu', 1000, 1800000000, '\x043655ca59b7d5', 1, 1, '');
INSERT INTO public.postings VALUES (16, 'sale', 'card:041f5ff885ceb5', 'outlet:Toko Satu', 1001, 1800000000, '\x041f5ff885ceb5', 1, 2, '');
INSERT INTO public.postings VALUES (17, 'sale', 'card:0431b8a7e9f916', 'outlet:Toko Satu', 1002, 1800000000, '\x0431b8a7e9f916', 1, 3, '');
INSERT INTO public.postings VALUES (18, 'sale', 'card:041ebc2c57112b', 'outlet:Toko Satu', 1003, 1800000000, '\x041ebc2c57112b', 1, 4, '');
INSERT INTO public.postings VALUES (19, 'sale', 'card:04c69d416dd731', 'outlet:Toko Satu', 1004, 1800000000, '\x04c69d416dd731', 1, 5, '');
INSERT INTO public.postings VALUES (20, 'sale', 'card:0453c926c91de5', 'outlet:Toko Satu', 1005, 1800000000, '\x0453c926c91de5', 1, 6, '');
INSERT INTO public.postings VALUES (21, 'sale', 'card:04c1b8c72a63af', 'outlet:Toko Satu', 1006, 1800000000, '\x04c1b8c72a63af', 1, 7, '');
INSERT INTO public.postings VALUES (22, 'sale', 'card:0431b8a7e9f916', 'outlet:Toko Satu', 500, 1800086400, '\x0431b8a7e9f916', 1, 12, '');
INSERT INTO public.postings VALUES (23, 'sale', 'card:043655ca59b7d5', 'outlet:Toko Satu', 2500, 1800086400, '\x043655ca59b7d5', 1, 8, 'the card''s MAC, in voucher 9');
INSERT INTO public.postings VALUES (24, 'sale', 'card:0431b8a7e9f916', 'outlet:Toko Satu', 4500, 1800086400, '\x0431b8a7e9f916', 1, 11, 'the card''s transaction 3 was this sale');
INSERT INTO public.postings VALUES (25, 'sale', 'card:041f5ff885ceb5', 'outlet:Toko ''Dua'' & Ibu Ñ', 600, 1800086400, '\x041f5ff885ceb5', 2, 1, '');
INSERT INTO public.postings VALUES (26, 'sale', 'card:043655ca59b7d5', 'outlet:Toko ''Dua'' & Ibu Ñ', 900, 1800086400, '\x043655ca59b7d5', 2, 3, '');
INSERT INTO public.postings VALUES (27, 'refund', 'outlet:Toko ''Dua'' & Ibu Ñ', 'in-flight:043655ca59b7d5', 400, 1800086400, '\x043655ca59b7d5', 2, 4, 'refund of sale 2/3');
INSERT INTO public.postings VALUES (28, 'sale', 'card:04c69d416dd731', 'outlet:Toko ''Dua'' & Ibu Ñ', 50, 1800086400, '\x04c69d416dd731', 2, 6, '');
INSERT INTO public.postings VALUES (29, 'sale', 'card:04c69d416dd731', 'outlet:Toko ''Dua'' & Ibu Ñ', 60, 1800086400, '\x04c69d416dd731', 2, 7, '');
INSERT INTO public.postings VALUES (30, 'unexplained-gain', 'suspense', 'card:04c69d416dd731', 1111, 1800086400, '\x04c69d416dd731', 0, 1, 'unexplained before the card''s transactions: 3, 4');
INSERT INTO public.postings VALUES (31, 'salary', 'salary', 'in-flight:04c1b8c72a63af', 25000, 1800172800, '\x04c1b8c72a63af', 0, 2, '');
INSERT INTO public.postings VALUES (32, 'salary', 'salary', 'in-flight:0453c926c91de5', 25001, 1800172800, '\x0453c926c91de5', 0, 2, '');
INSERT INTO public.postings VALUES (33, 'top-up', 'cash:3', 'in-flight:041f5ff885ceb5', 7000, 1800172800, '\x041f5ff885ceb5', 0, 2, '');
INSERT INTO public.postings VALUES (34, 'sale', 'card:0431b8a7e9f916', 'outlet:Toko Satu', 100, 1800172800, '\x0431b8a7e9f916', 1, 16, '');
INSERT INTO public.refunds VALUES (2, 4, 3, '\x043655ca59b7d5', 400, 'basah', '', 1800000000, 'ordered', 'refund of sale 2/3', '\x043655ca59b7d5', 2);
INSERT INTO public.rejected_batches VALUES ('\xa37a1136cfbf8e3805e82b90c827cf3b2877138e0531d38f2d3586033c358ba8', 'SYNC-CHAIN', 'The chain of vouchers is broken at number 1: its hash is not the signed one', 677, '\x8258b9d2845821a301270372646f626d692f62617463682d686561642f310448542d579b13d55741a0584fa60101020203010401055820cce3526ceb7f3cdea03f0b4b41c9e1d82982b4468c534ecb6f2ad5b4af11b0e5065820b448cf89ef1c72ba93d86080f1e5baef39538d9d724b381995c523eac5a08938584097364424247567b679cb783e4b66c3d639e99235b5f9c9c4614b270d9c420b540cbd53c6700b2a8cfa47895a200cc65392cb4fd6e066507f9a63a72e7b246403815901e5d284581ea30127036f646f626d692f766f75636865722f310448542d579b13d55741a059017db00101020103020401055820cce3526ceb7f3cdea03f0b4b41c9e1d82982b4468c534ecb6f2ad5b4af11b0e5061a6b49d200070108656b61736972096c4b6f70657261736920424d490a73546f6b6f20274475612720262049627520c3910b47041f5ff885ceb50c1902580d590100c844424d490000000200000000000000018865bc789a402e4ec3efac526122c70e000000000000000000000000000000ad010000007000000000000000000000010100000065000000025708416e67676f74612031303100000000000000000000000000000000000000000000000000f6abe5d89c62411fea1ac39d8058f2c580bb19292bcb423bb303425c35f39c0c0cd14b963730f93dfa1ae450500db337990cf6ffe759f3b8c98488b9d6a68b0f6c02b782010000000000000000000000dc0258020000000000000000000000008b03000000200000000000000000000001000000020000000000000001000002580001805f6b49d200000000000000000e030f48f95ae290026fe1ae108058406828a9e8cc3b56e0f2a6d14539f2dcaf8e90040521d6b677b51c8d68419356995f99d9fd9b245152a09bb70b059cf0530d0844f966e4a3483e6d7134b4787878', 1800086400);
INSERT INTO public.replacements VALUES ('\x0453c926c91de5', 'hilang di pasar', 3, 1800172800, 1, NULL, '');
INSERT INTO public.schema_version VALUES (1);
INSERT INTO public.terminals VALUES (3, 'Loket 1', 'station', 'Toko BMI', '\x3d3bc2f9790f9c500c6988cb9395f44c798e83a8422e455446f1409d97a593e5', 'active', 0, '\x1b6ec4ae57ebd27d9cc0e9bad209ee14f6056169be4998154759a77cffc7e79f', 1800000000, 0, NULL);
INSERT INTO public.terminals VALUES (2, 'Kasir 2', 'till', 'Toko ''Dua'' & Ibu Ñ', '\x9f9291d037ccf708098cac8b3d18e3b0ad2ad15b62df702607286eaaa7b5a5a8', 'active', 7, '\x870e49109d9c31c8add10f83545f5f56a1c1621ed351d659a40ac1f6e9f86c5b', 1800000000, 0, NULL);
INSERT INTO public.terminals VALUES (1, 'Kasir 1', 'till', 'Toko Satu', '\xee8941a9efea0db5f8be27448a8bb9b093ac0b42c196eb54e754eff967c40f90', 'active', 16, '\x801b3e59b1e76bfe59fb9b97c14bb54c3b7ab860b19822580352c0d352f878a5', 1800000000, 0, NULL);
INSERT INTO public.vouchers VALUES (1, 1, '\x70b9ce9c46dadd97b4311160c350f336492555e4b106016e1742790f68144123', '\xe52fbb78e32fc6dba92c2159663491fcd1c0eb5e2905458f1f48ad20ea0c6b93', 1, '\x043655ca59b7d5', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590173b00101020103010401055820e52fbb78e32fc6dba92c2159663491fcd1c0eb5e2905458f1f48ad20ea0c6b93061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b47043655ca59b7d50c1903e80d590100c844424d49000000010000000000000001ed256c866b7010a5567aef47521cb903000000000000000000000000000000ad010000007000000000000000000000010100000064000000015708416e67676f74612031303000000000000000000000000000000000000000000000000000057b9c437660446f5dfeddbd81a89d5300959fcb6612db2b8dacefbab9cb10a9235719cc635a3d15bb6e88cd8bb5c34f4d378375a376f419e81a177f4bd4560e6c02a086010000000000000000000000dc02e8030000000000000000000000008b03000000200000000000000000000001000000010000000000000001000003e8000182b86b49d200000000000000000e020f48e8eddf4f2b4c8b5e10805840b9d748ded1bb5b382109493d87083a3261d7550208cf0f929583ba6d74a57eb9e1d676d4e42e07fa813ad6d13977ded8a1e80268449246f4051b6070cdd09b0e', 1800000000, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 2, '\x39ae9abe98975dd60c63f4a8b8645aa7264d738b2e7b26af55a74b0839b9a3d8', '\x70b9ce9c46dadd97b4311160c350f336492555e4b106016e1742790f68144123', 1, '\x041f5ff885ceb5', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590173b0010102010301040205582070b9ce9c46dadd97b4311160c350f336492555e4b106016e1742790f68144123061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b47041f5ff885ceb50c1903e90d590100c844424d49000000010000000000000002ed5754257089c4a0b923b599b83ca0f1000000000000000000000000000000ad010000007000000000000000000000010100000065000000025708416e67676f74612031303100000000000000000000000000000000000000000000000000f6abe5d89c62411fea1ac39d8058f2c580bb19292bcb423bb303425c35f39c0c0cd14b963730f93dfa1ae450500db337990cf6ffe759f3b8c98488b9d6a68b0f6c02a086010000000000000000000000dc02e9030000000000000000000000008b03000000200000000000000000000001000000010000000000000002000003e9000182b76b49d200000000000000000e020f484b4c0e14eb7c4ee6108058403bd7d091d3a37ef5f720049aef61ab8236aac3a2f31bae8f47e989247fe8dfbb7630461de6376326bc34959366be014f7d2a7946522b0d68bc11875292973205', 1800000000, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 3, '\xcefe15d826a81aee045d7d81a4f16aaadfc0974367d9bc2baf936e6c455e2c3f', '\x39ae9abe98975dd60c63f4a8b8645aa7264d738b2e7b26af55a74b0839b9a3d8', 1, '\x0431b8a7e9f916', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590173b0010102010301040305582039ae9abe98975dd60c63f4a8b8645aa7264d738b2e7b26af55a74b0839b9a3d8061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b470431b8a7e9f9160c1903ea0d590100c844424d490000000100000000000000039b1d226d87f4194a19f28c17132ae97d000000000000000000000000000000ad010000007000000000000000000000010100000066000000035708416e67676f746120313032000000000000000000000000000000000000000000000000002b5b3d1bc542061dfb2b2c86d191d7e68204fe153ca8fc846a30ac7068b795cb431db8ecefda166549c633115f186df40ee76efc4deff0ba2957dac7cb9d5d0b6c02a086010000000000000000000000dc02ea030000000000000000000000008b03000000200000000000000000000001000000010000000000000003000003ea000182b66b49d200000000000000000e020f48c05886ee3cd7b6a4108058408a5af52a4173eddcdd74c94a78661a6b242bc6600c7b08590432625414459fef82238cd437605940d088aa8a183847113695d66f03e02c84996408bac98d5708', 1800000000, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 4, '\x7ca1bd0cc9e87d1357b7b43add8cffc4a561c4bc09a1cf8302aaa9e167e97ef2', '\xcefe15d826a81aee045d7d81a4f16aaadfc0974367d9bc2baf936e6c455e2c3f', 1, '\x041ebc2c57112b', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590173b00101020103010404055820cefe15d826a81aee045d7d81a4f16aaadfc0974367d9bc2baf936e6c455e2c3f061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b47041ebc2c57112b0c1903eb0d590100c844424d49000000010000000000000004bd2c6de6c9b154197ffc5ef5a0215b8f000000000000000000000000000000ad010000007000000000000000000000010100000067000000045708416e67676f746120313033000000000000000000000000000000000000000000000000002b5b9b6446f8a5663a328529656754745445f2bf64979fadb3c461d14c37d1de5f9e68fc69bdbdc406b30b268d0e91cf6286497f3df3dd1d822e1f983b1e150f6c02a086010000000000000000000000dc02eb030000000000000000000000008b03000000200000000000000000000001000000010000000000000004000003eb000182b56b49d200000000000000000e020f4851e61b3b4dc5446410805840ffe36d58d453b60ecbed206c809805edc63267232f7eecc379aea165ce004cd873835c157f152fe3a176619c264f8eda51eecb22ac02c4027681014a17709300', 1800000000, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 5, '\x2cac6196ae07a83c3645f95605168f32ba75496eaacb6b9a8237be7e9129a181', '\x7ca1bd0cc9e87d1357b7b43add8cffc4a561c4bc09a1cf8302aaa9e167e97ef2', 1, '\x04c69d416dd731', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590173b001010201030104050558207ca1bd0cc9e87d1357b7b43add8cffc4a561c4bc09a1cf8302aaa9e167e97ef2061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b4704c69d416dd7310c1903ec0d590100c844424d4900000001000000000000000582b977ed975d2422e333a057fcd5ad5f000000000000000000000000000000ad010000007000000000000000000000010100000068000000055708416e67676f7461203130340000000000000000000000000000000000000000000000000064fb1d026b9681848c9ded04da64fe027bf27d5a8b430f359b9ee0f825f77dd9b6630c029bb78500ef163d12426991c0e952560011f0c6c1f0dad259047bd0096c02a086010000000000000000000000dc02ec030000000000000000000000008b03000000200000000000000000000001000000010000000000000005000003ec000182b46b49d200000000000000000e020f48777721f1e5213f38108058405d79325a78526d35f3d8a9491b8041412c7cb7c143ac32744eae2114215d36485d1c89f8fbca7ba36707f2abb8a3c8b15cf299d484d812ebb06abcc56803c807', 1800000000, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 6, '\x55f1abed5d33f4354a78676168b007ba0a32f4b85d761232db89067fedb87a69', '\x2cac6196ae07a83c3645f95605168f32ba75496eaacb6b9a8237be7e9129a181', 1, '\x0453c926c91de5', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590173b001010201030104060558202cac6196ae07a83c3645f95605168f32ba75496eaacb6b9a8237be7e9129a181061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b470453c926c91de50c1903ed0d590100c844424d4900000001000000000000000608cd69f5a97dbbf490c2013d6ddf3fd4000000000000000000000000000000ad010000007000000000000000000000010100000069000000065708416e67676f74612031303500000000000000000000000000000000000000000000000000de6568f59997ea6222fbb03b7b09adb6398f0462e161497a9fe9f4915eca3c2f6295a972e4d5e62dce9238185ce3dcb19dd5b68c2e8b9dcb281468cb1323bc056c02a086010000000000000000000000dc02ed030000000000000000000000008b03000000200000000000000000000001000000010000000000000006000003ed000182b36b49d200000000000000000e020f4840fe04926d9855a81080584048c3717ed5d3fae936996d5260322546f63a6da9b7d25e41580883f8d55bf8b25646d3ff2cdda3594b6240ec5e43a3fc6e08a080fc016ff9b0f8ab9087070906', 1800000000, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 7, '\xc17f5122aa13becad522e7dcfbba3ae034315c4a029f8d75c54b8d66d04cfee4', '\x55f1abed5d33f4354a78676168b007ba0a32f4b85d761232db89067fedb87a69', 1, '\x04c1b8c72a63af', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590173b0010102010301040705582055f1abed5d33f4354a78676168b007ba0a32f4b85d761232db89067fedb87a69061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b4704c1b8c72a63af0c1903ee0d590100c844424d490000000100000000000000076671fc987e42647e347264824524d1c2000000000000000000000000000000ad01000000700000000000000000000001010000006a000000075708416e67676f7461203130360000000000000000000000000000000000000000000000000047c6ca7a9135e136647389b588f7020d553d2aaa95c1e8c3034e16abbcdc5126baa6a7a1f2c5d3d96006d1ca7cca76519aa0360a1e2a2e5cc1a4d67f8f931b0a6c02a086010000000000000000000000dc02ee030000000000000000000000008b03000000200000000000000000000001000000010000000000000007000003ee000182b26b49d200000000000000000e020f4896ee83e0f0be684d10805840182d6471241e59d9c164e560fc92a17c1c148d0570758846567f6af8bb5bf82ecc614fd3e59d536f893f73f778e55e0593b6e7973fb5fc2b0112b4c9e4d31a0a', 1800000000, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 8, '\xedf95dcea953f7e4c7ee365358d5b436d2a9c7b6ff34c6604fe98195d0d67b72', '\xc17f5122aa13becad522e7dcfbba3ae034315c4a029f8d75c54b8d66d04cfee4', 2, '\x043655ca59b7d5', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590167ae0101020203010408055820c17f5122aa13becad522e7dcfbba3ae034315c4a029f8d75c54b8d66d04cfee4061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b47043655ca59b7d50c1909c40d590100c844424d490000000100000000000000087575c45e1ac2664733690f5952ad9c28000000000000000000000000000000ad010000007000000000000000000000010100000064000000015708416e67676f74612031303000000000000000000000000000000000000000000000000000057b9c437660446f5dfeddbd81a89d5300959fcb6612db2b8dacefbab9cb10a9235719cc635a3d15bb6e88cd8bb5c34f4d378375a376f419e81a177f4bd4560e6c02b882010000000000000000000000dc02c4090000000000000000000000008b03000000200000000000000000000001000000010000000000000008000009c4000178f46b49d2000000000000000010805840b8c6af9b72be04087abf08f8dc356f93cded58b3dc0b82372e60e9b4513961621811a0196a77de3801a6a20c792ee94056e596ee791563596b958ef117709108', 1800086400, 'noted', '', '');
INSERT INTO public.vouchers VALUES (1, 9, '\xe62d941708812325b61e24b088c370ef3e40431f32014539dcc6ca3bf37a8e88', '\xedf95dcea953f7e4c7ee365358d5b436d2a9c7b6ff34c6604fe98195d0d67b72', 3, '\x043655ca59b7d5', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a05854ad0101020303010409055820edf95dcea953f7e4c7ee365358d5b436d2a9c7b6ff34c6604fe98195d0d67b72061a6b49d200070108656b617369720b47043655ca59b7d50e030f48eb44b863cb53e993110812015840b5fa4db163345be1e0fff7f5cda9523a88224c54c6743f1a781144aa7d47e4037adfa65607af59bd5d839c435ebea92b3b35effc70470ff93939ea022cdf7e06', 1800086400, 'noted', '', '');
INSERT INTO public.vouchers VALUES (1, 10, '\xb23cd1c6aa4eb932814dc236bcc52e02b4ba9638abf4f40c9c417705e34bc520', '\xe62d941708812325b61e24b088c370ef3e40431f32014539dcc6ca3bf37a8e88', 2, '\x041f5ff885ceb5', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590167ae010102020301040a055820e62d941708812325b61e24b088c370ef3e40431f32014539dcc6ca3bf37a8e88061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b47041f5ff885ceb50c190dac0d590100c844424d4900000001000000000000000a8865bc789a402e4ec3efac526122c70e000000000000000000000000000000ad010000007000000000000000000000010100000065000000025708416e67676f74612031303100000000000000000000000000000000000000000000000000f6abe5d89c62411fea1ac39d8058f2c580bb19292bcb423bb303425c35f39c0c0cd14b963730f93dfa1ae450500db337990cf6ffe759f3b8c98488b9d6a68b0f6c02b782010000000000000000000000dc02ac0d0000000000000000000000008b0300000020000000000000000000000100000001000000000000000a00000dac0001750b6b49d2000000000000000010805840aa81632ea88de3a9312bfd80ab9ffe6fe6cbc9a4dfe54b393dad5d0d87aef669e3f649b8cb018c1996d293b7a9b365603f2248a99b268bbe5253cc060a442904', 1800086400, 'noted', '', '');
INSERT INTO public.vouchers VALUES (1, 11, '\x29463d3b40e928c62f935af512f792996defc17956327de7e293cec2c263bbb8', '\xb23cd1c6aa4eb932814dc236bcc52e02b4ba9638abf4f40c9c417705e34bc520', 2, '\x0431b8a7e9f916', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590167ae010102020301040b055820b23cd1c6aa4eb932814dc236bcc52e02b4ba9638abf4f40c9c417705e34bc520061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b470431b8a7e9f9160c1911940d590100c844424d4900000001000000000000000b9973b7c52931bea99bbcce5312eb09d2000000000000000000000000000000ad010000007000000000000000000000010100000066000000035708416e67676f746120313032000000000000000000000000000000000000000000000000002b5b3d1bc542061dfb2b2c86d191d7e68204fe153ca8fc846a30ac7068b795cb431db8ecefda166549c633115f186df40ee76efc4deff0ba2957dac7cb9d5d0b6c02b682010000000000000000000000dc0294110000000000000000000000008b0300000020000000000000000000000100000001000000000000000b00001194000171226b49d2000000000000000010805840b4eeca4bd6aacbfdfee7d022fd119bf5388c48d71d6e5d741493d012fc40746679a4f0226700b503d40b51d9df1beb406f9060e3a60aeb5d490369fa7dabfe0f', 1800086400, 'noted', '', '');
INSERT INTO public.vouchers VALUES (1, 12, '\x8e311e2d83f61de302c45119e5eb344dc5ad1b7d52128dff7ce07e020a9e46c3', '\x29463d3b40e928c62f935af512f792996defc17956327de7e293cec2c263bbb8', 1, '\x0431b8a7e9f916', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590173b0010102010301040c05582029463d3b40e928c62f935af512f792996defc17956327de7e293cec2c263bbb8061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b470431b8a7e9f9160c1901f40d590100c844424d4900000001000000000000000c34f2e91e9350b1215eb7ecff86bcbbea000000000000000000000000000000ad010000007000000000000000000000010100000066000000035708416e67676f746120313032000000000000000000000000000000000000000000000000002b5b3d1bc542061dfb2b2c86d191d7e68204fe153ca8fc846a30ac7068b795cb431db8ecefda166549c633115f186df40ee76efc4deff0ba2957dac7cb9d5d0b6c022271010000000000000000000000dc02f4010000000000000000000000008b0300000020000000000000000000000100000001000000000000000c000001f400016f2e6b49d200000000000000000e040f48a5aec011f023ab9f1080584086d229470b07bb650beacf7cd5ffb0943da77e757b3c24c83b2ea349bd93722689a44f4c9a4967a0d023f5cb6c5e3e6e4cc5716d306cd6110ee706e5695c6a0a', 1800086400, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 13, '\x51ca3ea40506d1437b811d1db2edd04096ca84c3b82f13b7ff35c589da9de3bb', '\x8e311e2d83f61de302c45119e5eb344dc5ad1b7d52128dff7ce07e020a9e46c3', 4, '\x043655ca59b7d5', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0584aab010102040301040d0558208e311e2d83f61de302c45119e5eb344dc5ad1b7d52128dff7ce07e020a9e46c3061a6b49d200070108656b617369720b47043655ca59b7d50c1902bc13015840c348ba74982ac316f998454bddbe5b37ff15782296d75b7dd7150eec7a9a80927f05d96d24015744398d44762e8b2e6b1e1b3c2aead331b469a8e379d5c3e30b', 1800086400, 'noted', '', '');
INSERT INTO public.vouchers VALUES (1, 14, '\xfcae03bffff623cb7d9a489a4795ac9422ddd32356b126638d8a9411b08df59e', '\x51ca3ea40506d1437b811d1db2edd04096ca84c3b82f13b7ff35c589da9de3bb', 2, '\x041ebc2c57112b', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590167ae010102020301040e05582051ca3ea40506d1437b811d1db2edd04096ca84c3b82f13b7ff35c589da9de3bb061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b47041ebc2c57112b0c19157c0d590100c844424d4900000001000000000000000e2c9900e13a7b2cdde5c0e16b55531d03000000000000000000000000000000ad010000007000000000000000000000010100000067000000045708416e67676f746120313033000000000000000000000000000000000000000000000000002b5b9b6446f8a5663a328529656754745445f2bf64979fadb3c461d14c37d1de5f9e68fc69bdbdc406b30b268d0e91cf6286497f3df3dd1d822e1f983b1e150f6c02b582010000000000000000000000dc027c150000000000000000000000008b0300000020000000000000000000000100000001000000000000000e0000157c00016d396b49d200000000000000001080584065a016850a68e5644efdd7d316fc955a2e9c0eec0be24ed102f48aa1b931c3e6d73d2e1244d4ab52925a221cfd7d000f1da951704166a9a8db6dda11787a9004', 1800086400, 'noted', '', '');
INSERT INTO public.vouchers VALUES (1, 15, '\x06c20f0fb8fd15e488df8ba0134bd011daad6c76506c6ae1b58fed21fb2cd954', '\xfcae03bffff623cb7d9a489a4795ac9422ddd32356b126638d8a9411b08df59e', 6, '\x041ebc2c57112b', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0585cad010102060301040f055820fcae03bffff623cb7d9a489a4795ac9422ddd32356b126638d8a9411b08df59e061a6b49d200070108656b617369720b47041ebc2c57112b110e12011463416e69156d626172616e672064696261776158407b99cbd5a9e43758ca739b9f67660a006d9c9153010351695a44e5d676985e137cee9c40699ce42ad39a555497b162b212272f26e517d9821be306daaca4b308', 1800086400, 'noted', '', '');
INSERT INTO public.vouchers VALUES (2, 1, '\xb448cf89ef1c72ba93d86080f1e5baef39538d9d724b381995c523eac5a08938', '\xcce3526ceb7f3cdea03f0b4b41c9e1d82982b4468c534ecb6f2ad5b4af11b0e5', 1, '\x041f5ff885ceb5', '\xd284581ea30127036f646f626d692f766f75636865722f310448542d579b13d55741a059017db00101020103020401055820cce3526ceb7f3cdea03f0b4b41c9e1d82982b4468c534ecb6f2ad5b4af11b0e5061a6b49d200070108656b61736972096c4b6f70657261736920424d490a73546f6b6f20274475612720262049627520c3910b47041f5ff885ceb50c1902580d590100c844424d490000000200000000000000018865bc789a402e4ec3efac526122c70e000000000000000000000000000000ad010000007000000000000000000000010100000065000000025708416e67676f74612031303100000000000000000000000000000000000000000000000000f6abe5d89c62411fea1ac39d8058f2c580bb19292bcb423bb303425c35f39c0c0cd14b963730f93dfa1ae450500db337990cf6ffe759f3b8c98488b9d6a68b0f6c02b782010000000000000000000000dc0258020000000000000000000000008b03000000200000000000000000000001000000020000000000000001000002580001805f6b49d200000000000000000e030f48f95ae290026fe1ae108058406828a9e8cc3b56e0f2a6d14539f2dcaf8e90040521d6b677b51c8d68419356995f99d9fd9b245152a09bb70b059cf0530d0844f966e4a3483e6d7134b4a07600', 1800086400, 'posted', '', '');
INSERT INTO public.vouchers VALUES (2, 2, '\xbb80675d378c668cff3985ab95ea67940574b37a4ab6500b8c3dfd76be13a5b8', '\xb448cf89ef1c72ba93d86080f1e5baef39538d9d724b381995c523eac5a08938', 1, '\x043655ca59b7d5', '\xd284581ea30127036f646f626d692f766f75636865722f310448542d579b13d55741a059017db00101020103020402055820b448cf89ef1c72ba93d86080f1e5baef39538d9d724b381995c523eac5a08938061a6b49d200070108656b61736972096c4b6f70657261736920424d490a73546f6b6f20274475612720262049627520c3910b47043655ca59b7d50c1903200d590100c844424d490000000200000000000000027225293cc3061667acdcaeb887c0a02b000000000000000000000000000000ad010000007000000000000000000000010100000064000000015708416e67676f74612031303000000000000000000000000000000000000000000000000000057b9c437660446f5dfeddbd81a89d5300959fcb6612db2b8dacefbab9cb10a9235719cc635a3d15bb6e88cd8bb5c34f4d378375a376f419e81a177f4bd4560e6c02f478010000000000000000000000dc0220030000000000000000000000008b0300000020000000000000000000000100000002000000000000000200000320000175d46b49d200000000000000000e040f48000000000000000010805840b2778fd9a4e0daacac655f6a6a8f1479859c54ce118cd6f54370bcb2a0be2e5e59b083a6860a5d16c5e82fef21e2c544cd7a2af7f2e04cd3d9bc3945f3fa660d', 1800086400, 'quarantined', 'wrong-card-mac', '');
INSERT INTO public.vouchers VALUES (2, 3, '\xbc9abfda4697eeafb0a260bc893449b97093e0f26ce2e855599ae66b709774ef', '\xbb80675d378c668cff3985ab95ea67940574b37a4ab6500b8c3dfd76be13a5b8', 1, '\x043655ca59b7d5', '\xd284581ea30127036f646f626d692f766f75636865722f310448542d579b13d55741a059017db00101020103020403055820bb80675d378c668cff3985ab95ea67940574b37a4ab6500b8c3dfd76be13a5b8061a6b49d200070108656b61736972096c4b6f70657261736920424d490a73546f6b6f20274475612720262049627520c3910b47043655ca59b7d50c1903840d590100c844424d490000000200000000000000037225293cc3061667acdcaeb887c0a02b000000000000000000000000000000ad010000007000000000000000000000010100000064000000015708416e67676f74612031303000000000000000000000000000000000000000000000000000057b9c437660446f5dfeddbd81a89d5300959fcb6612db2b8dacefbab9cb10a9235719cc635a3d15bb6e88cd8bb5c34f4d378375a376f419e81a177f4bd4560e6c02f478010000000000000000000000dc0284030000000000000000000000008b0300000020000000000000000000000100000002000000000000000300000384000175706b49d200000000000000000e040f48d6bb26c4cafa82e710805840862d137021d1d980c33c24a9781c90e817b26640779ba543860fec85be63bb0ef021af8af8859dc17bf783c4b027d34d55321b2f99f40dc755df75eb5baf5700', 1800086400, 'posted', '', '');
INSERT INTO public.vouchers VALUES (2, 4, '\x5e7ea546b60f7e285cbf7cdb768040560b2f2e7a3dc1ed150fc8f39d3dd5feac', '\xbc9abfda4697eeafb0a260bc893449b97093e0f26ce2e855599ae66b709774ef', 5, '\x043655ca59b7d5', '\xd284581ea30127036f646f626d692f766f75636865722f310448542d579b13d55741a05855ae0101020503020404055820bc9abfda4697eeafb0a260bc893449b97093e0f26ce2e855599ae66b709774ef061a6b49d200070108656b617369720b47043655ca59b7d50c1901901080146015656261736168160358408c1688077a6fb4e12c70fc783f3d7a71fae26e0e23e5c40c5d3cc9b728d0acef79e62f3a677309016e95e77c08a1df68270e816c8df7ec95d088c21652f7010d', 1800086400, 'noted', '', '');
INSERT INTO public.vouchers VALUES (2, 5, '\x5c080a083c77c20a0692b187e7a1fa7ad6619b7cecc6cc8c5ba8efddd934a25d', '\x5e7ea546b60f7e285cbf7cdb768040560b2f2e7a3dc1ed150fc8f39d3dd5feac', 5, '\x043655ca59b7d5', '\xd284581ea30127036f646f626d692f766f75636865722f310448542d579b13d55741a05857ae01010205030204050558205e7ea546b60f7e285cbf7cdb768040560b2f2e7a3dc1ed150fc8f39d3dd5feac061a6b49d200070108656b617369720b47043655ca59b7d50c1a000186a0108014601565626173616816035840e7225306763185d629a9062f16f0213b06899ac6d975b205f935d699a74c415dde479c4cb2fc96532c92818f1655d868ff2003ed872aab39cc1fdd516e693b01', 1800086400, 'quarantined', 'refund-too-much', 'Rp 100.400 of a sale of Rp 900');
INSERT INTO public.vouchers VALUES (2, 6, '\xadf17a00837d8038130abf9aefef7e1d8a632e3c07c6cbd8971b330982c938a7', '\x5c080a083c77c20a0692b187e7a1fa7ad6619b7cecc6cc8c5ba8efddd934a25d', 1, '\x04c69d416dd731', '\xd284581ea30127036f646f626d692f766f75636865722f310448542d579b13d55741a059017cb001010201030204060558205c080a083c77c20a0692b187e7a1fa7ad6619b7cecc6cc8c5ba8efddd934a25d061a6b49d200070108656b61736972096c4b6f70657261736920424d490a73546f6b6f20274475612720262049627520c3910b4704c69d416dd7310c18320d590100c844424d49000000020000000000000006f4f98e32002e7eb7e3b47e2d3018c881000000000000000000000000000000ad010000007000000000000000000000010100000068000000055708416e67676f7461203130340000000000000000000000000000000000000000000000000064fb1d026b9681848c9ded04da64fe027bf27d5a8b430f359b9ee0f825f77dd9b6630c029bb78500ef163d12426991c0e952560011f0c6c1f0dad259047bd0096c025d7e010000000000000000000000dc0232000000000000000000000000008b030000002000000000000000000000010000000200000000000000060000003200017e2b6b49d200000000000000000e030f4893f930655be9950310805840cf803baf151c22181302b4e9b8ea59241694651b346ad0c1ecb5c8bf9d8278c81f1a583be750056cff29dc2365759807924cd299bb841c921694147bc7b74602', 1800086400, 'posted', '', '');
INSERT INTO public.vouchers VALUES (2, 7, '\x870e49109d9c31c8add10f83545f5f56a1c1621ed351d659a40ac1f6e9f86c5b', '\xadf17a00837d8038130abf9aefef7e1d8a632e3c07c6cbd8971b330982c938a7', 1, '\x04c69d416dd731', '\xd284581ea30127036f646f626d692f766f75636865722f310448542d579b13d55741a059017cb00101020103020407055820adf17a00837d8038130abf9aefef7e1d8a632e3c07c6cbd8971b330982c938a7061a6b49d200070108656b61736972096c4b6f70657261736920424d490a73546f6b6f20274475612720262049627520c3910b4704c69d416dd7310c183c0d590100c844424d49000000020000000000000007f08d149f3305f55e2238270cfdd1bcea000000000000000000000000000000ad010000007000000000000000000000010100000068000000055708416e67676f7461203130340000000000000000000000000000000000000000000000000064fb1d026b9681848c9ded04da64fe027bf27d5a8b430f359b9ee0f825f77dd9b6630c029bb78500ef163d12426991c0e952560011f0c6c1f0dad259047bd0096c02d986010000000000000000000000dc023c000000000000000000000000008b030000002000000000000000000000010000000200000000000000070000003c0001869d6b49d200000000000000000e040f4868c0661a390c7d33108058409d3e59437839a2273b00512d59f078404ea230115fbe02bd6784f1031543344e950c9584f23cfca1a1780382db26e40d70c5561dc3eb57e9979cad9b026b4a00', 1800086400, 'posted', '', '');
INSERT INTO public.vouchers VALUES (1, 16, '\x801b3e59b1e76bfe59fb9b97c14bb54c3b7ab860b19822580352c0d352f878a5', '\x06c20f0fb8fd15e488df8ba0134bd011daad6c76506c6ae1b58fed21fb2cd954', 1, '\x0431b8a7e9f916', '\xd284581ea30127036f646f626d692f766f75636865722f3104488cc1c55821070cd2a0590172b0010102010301041005582006c20f0fb8fd15e488df8ba0134bd011daad6c76506c6ae1b58fed21fb2cd954061a6b49d200070108656b61736972096c4b6f70657261736920424d490a69546f6b6f20536174750b470431b8a7e9f9160c18640d590100c844424d49000000010000000000000010375745233ea55ed2f532a0b940627d96000000000000000000000000000000ad010000007000000000000000000000010100000066000000035708416e67676f746120313032000000000000000000000000000000000000000000000000002b5b3d1bc542061dfb2b2c86d191d7e68204fe153ca8fc846a30ac7068b795cb431db8ecefda166549c633115f186df40ee76efc4deff0ba2957dac7cb9d5d0b6c025c6a010000000000000000000000dc0264000000000000000000000000008b0300000020000000000000000000000100000001000000000000001000000064000169f86b49d200000000000000000e060f48a265cfcc6e8984dd108058408d5ea7cb44804c6559c1d36a5bdcc87de701d34008812fb601d53b0a459333e4281fcaf8aa24bc3f8f79bf232946bd6a1a304a42144281b9ff42aec7ee666d0d', 1800172800, 'posted', '', '');
SELECT pg_catalog.setval('public.anomalies_id_seq', 4, true);
SELECT pg_catalog.setval('public.credit_attempts_id_seq', 8, true);
SELECT pg_catalog.setval('public.doubt_settlements_id_seq', 3, true);
SELECT pg_catalog.setval('public.postings_id_seq', 34, true);
ALTER TABLE ONLY public.anomalies
    ADD CONSTRAINT anomalies_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (batch_hash);
ALTER TABLE ONLY public.card_transactions
    ADD CONSTRAINT card_transactions_card_uid_terminal_id_sequence_key UNIQUE (card_uid, terminal_id, sequence);
ALTER TABLE ONLY public.card_transactions
    ADD CONSTRAINT card_transactions_pkey PRIMARY KEY (card_uid, counter);
ALTER TABLE ONLY public.cards
    ADD CONSTRAINT cards_pkey PRIMARY KEY (uid);
ALTER TABLE ONLY public.cards
    ADD CONSTRAINT cards_serial_key UNIQUE (serial);
ALTER TABLE ONLY public.counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.credit_attempts
    ADD CONSTRAINT credit_attempts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.credit_settlements
    ADD CONSTRAINT credit_settlements_pkey PRIMARY KEY (card_uid, sequence);
ALTER TABLE ONLY public.doubt_decisions
    ADD CONSTRAINT doubt_decisions_pkey PRIMARY KEY (terminal_id, sequence);
ALTER TABLE ONLY public.doubt_settlements
    ADD CONSTRAINT doubt_settlements_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.anomalies
    ADD CONSTRAINT found_once UNIQUE (kind, subject);
ALTER TABLE ONLY public.hotlist_changes
    ADD CONSTRAINT hotlist_changes_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.in_doubt
    ADD CONSTRAINT in_doubt_pkey PRIMARY KEY (terminal_id, sequence);
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_pkey PRIMARY KEY (code_hash);
ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_pkey PRIMARY KEY (member_number);
ALTER TABLE ONLY public.postings
    ADD CONSTRAINT nothing_posts_twice UNIQUE (card_uid, kind, terminal_id, sequence);
ALTER TABLE ONLY public.pending_credits
    ADD CONSTRAINT pending_credits_idempotency_key_key UNIQUE (idempotency_key);
ALTER TABLE ONLY public.pending_credits
    ADD CONSTRAINT pending_credits_pkey PRIMARY KEY (card_uid, sequence);
ALTER TABLE ONLY public.postings
    ADD CONSTRAINT postings_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (terminal_id, sequence);
ALTER TABLE ONLY public.rejected_batches
    ADD CONSTRAINT rejected_batches_pkey PRIMARY KEY (batch_hash);
ALTER TABLE ONLY public.replacements
    ADD CONSTRAINT replacements_pkey PRIMARY KEY (card_uid);
ALTER TABLE ONLY public.request_nonces
    ADD CONSTRAINT request_nonces_pkey PRIMARY KEY (terminal_id, nonce);
ALTER TABLE ONLY public.restorations
    ADD CONSTRAINT restorations_pkey PRIMARY KEY (version_after);
ALTER TABLE ONLY public.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.terminals
    ADD CONSTRAINT terminals_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.terminals
    ADD CONSTRAINT terminals_public_key_key UNIQUE (public_key);
ALTER TABLE ONLY public.vouchers
    ADD CONSTRAINT vouchers_hash_key UNIQUE (hash);
ALTER TABLE ONLY public.vouchers
    ADD CONSTRAINT vouchers_pkey PRIMARY KEY (terminal_id, sequence);
ALTER TABLE ONLY public.vouchers
    ADD CONSTRAINT vouchers_previous_hash_key UNIQUE (previous_hash);
CREATE INDEX attempts_of_credit ON public.credit_attempts USING btree (card_uid, sequence);
CREATE INDEX cards_of_member ON public.cards USING btree (member_number);
CREATE INDEX credits_waiting ON public.pending_credits USING btree (card_uid) WHERE ((state)::text = ANY ((ARRAY['pending'::character varying, 'in_doubt'::character varying])::text[]));
CREATE INDEX doubts_of_card ON public.in_doubt USING btree (card_uid);
CREATE INDEX ix_request_nonces_at ON public.request_nonces USING btree (at);
CREATE UNIQUE INDEX one_active_card_a_member ON public.cards USING btree (member_number) WHERE ((state)::text = 'active'::text);
CREATE INDEX quarantine ON public.vouchers USING btree (received_at) WHERE ((status)::text = 'quarantined'::text);
CREATE INDEX refunds_of_card ON public.refunds USING btree (card_uid);
CREATE INDEX refunds_of_sale ON public.refunds USING btree (terminal_id, sale_sequence);
CREATE INDEX settlements_of_till ON public.doubt_settlements USING btree (terminal_id, at);
CREATE INDEX transactions_named_later ON public.card_transactions USING btree (previous_terminal_id, previous_sequence);
CREATE TRIGGER anomalies_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.anomalies FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
CREATE TRIGGER batches_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.batches FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
CREATE TRIGGER credit_settlements_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.credit_settlements FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
CREATE TRIGGER doubt_decisions_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.doubt_decisions FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
CREATE TRIGGER doubt_settlements_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.doubt_settlements FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
CREATE TRIGGER hotlist_changes_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.hotlist_changes FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
CREATE TRIGGER postings_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.postings FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
CREATE TRIGGER restorations_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.restorations FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
CREATE TRIGGER vouchers_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.vouchers FOR EACH STATEMENT EXECUTE FUNCTION public.dobmi_append_only();
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_terminal_id_fkey FOREIGN KEY (terminal_id) REFERENCES public.terminals(id);
ALTER TABLE ONLY public.card_transactions
    ADD CONSTRAINT card_transactions_card_uid_fkey FOREIGN KEY (card_uid) REFERENCES public.cards(uid);
ALTER TABLE ONLY public.cards
    ADD CONSTRAINT cards_member_number_fkey FOREIGN KEY (member_number) REFERENCES public.members(member_number);
ALTER TABLE ONLY public.credit_settlements
    ADD CONSTRAINT credit_settlements_card_uid_sequence_fkey FOREIGN KEY (card_uid, sequence) REFERENCES public.pending_credits(card_uid, sequence);
ALTER TABLE ONLY public.hotlist_changes
    ADD CONSTRAINT hotlist_changes_card_uid_fkey FOREIGN KEY (card_uid) REFERENCES public.cards(uid);
ALTER TABLE ONLY public.in_doubt
    ADD CONSTRAINT in_doubt_card_uid_fkey FOREIGN KEY (card_uid) REFERENCES public.cards(uid);
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_used_by_fkey FOREIGN KEY (used_by) REFERENCES public.terminals(id);
ALTER TABLE ONLY public.pending_credits
    ADD CONSTRAINT pending_credits_card_uid_fkey FOREIGN KEY (card_uid) REFERENCES public.cards(uid);
ALTER TABLE ONLY public.pending_credits
    ADD CONSTRAINT pending_credits_ordered_by_fkey FOREIGN KEY (ordered_by) REFERENCES public.terminals(id);
ALTER TABLE ONLY public.postings
    ADD CONSTRAINT postings_card_uid_fkey FOREIGN KEY (card_uid) REFERENCES public.cards(uid);
ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT refunds_card_uid_fkey FOREIGN KEY (card_uid) REFERENCES public.cards(uid);
ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT refunds_credit_card_uid_credit_sequence_fkey FOREIGN KEY (credit_card_uid, credit_sequence) REFERENCES public.pending_credits(card_uid, sequence);
ALTER TABLE ONLY public.replacements
    ADD CONSTRAINT replacements_card_uid_fkey FOREIGN KEY (card_uid) REFERENCES public.cards(uid);
ALTER TABLE ONLY public.vouchers
    ADD CONSTRAINT vouchers_terminal_id_fkey FOREIGN KEY (terminal_id) REFERENCES public.terminals(id);
