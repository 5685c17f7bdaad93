package config

// securityOptions decide who may do what. With per_listener_settings each
// belongs to the listener before it.
var securityOptions = []Option{
	{
		Name: "acl_file", Section: "security", place: inSecurity, Values: "file", Reload: AtOnce,
		Meaning: "Rules on who may read and write which topics. A second line replaces the first.",
		field:   textField{at: func(t target) *string { return &t.security().ACLFile }, replace: true},
	},
	{
		Name: "allow_anonymous", Section: "security", place: inSecurity, Values: boolValues, Reload: AtOnce,
		Meaning: "Whether a client without user name may connect. Without the option: yes in local-only mode, no otherwise.",
		field:   triField{at: func(t target) **bool { return &t.security().anonymous }},
	},
	{
		Name: "allow_zero_length_clientid", Section: "security", place: inSecurity, Values: boolValues, Default: "true", Reload: NextConnection,
		Meaning: "Whether the broker makes up a client id for clients that bring none: MQTT 5, and 3.1.1 with a clean session.",
		field:   boolField{at: func(t target) *bool { return &t.security().RefuseEmptyClientID }, inverse: true},
	},
	{
		Name: "auto_id_prefix", Section: "security", place: inSecurity, Values: "text of at most 50 bytes", Reload: NextConnection,
		Hint:    "Please use 'listener_auto_id_prefix' instead.",
		Meaning: "What the client ids that the broker makes up begin with; without the option `auto-`.",
		field:   textField{at: func(t target) *string { return &t.security().AutoIDPrefix }, check: shortPrefix},
	},
	{
		Name: "password_file", Section: "security", place: inSecurity, Values: "file", Reload: AtOnce,
		Meaning: "Users and the hashes of their passwords. A second line replaces the first.",
		field:   textField{at: func(t target) *string { return &t.security().PasswordFile }, replace: true},
	},
	{
		Name: "per_listener_settings", Section: "global", Values: boolValues, Default: "false", Reload: AtOnce,
		Hint:    "Please use 'listener_allow_anonymous', 'listener_auto_id_prefix' and 'plugin_use' instead.",
		Meaning: "Whether the security options belong to the listener before them. Must stand before all of them; once true it stays so.",
		field:   perListenerField{},
	},
	{
		Name: "psk_file", Section: "security", place: inSecurity, Values: "file",
		Meaning: "Refused: Go's TLS has no pre-shared keys.",
		field:   refusedField{read: readPSKFile, why: noPSK},
	},
}

func readPSKFile(p *parser, o *Option, rest string) error {
	if p.listener != nil && p.listener.TLS.CertFile != "" {
		return p.errorf("%s", mixed)
	}
	return readText(p, o, rest)
}

// perListenerField is per_listener_settings.
type perListenerField struct{}

func (perListenerField) parse(p *parser, o *Option, rest string) error {
	v, err := p.parseBool(o.Name, rest)
	if err != nil {
		return err
	}
	if p.c.PerListenerSettings {
		return nil
	}
	if p.security {
		return p.errorf("Error: per_listener_settings must be set before any other security settings.")
	}
	p.c.PerListenerSettings = v
	return nil
}

func (perListenerField) format(t target) string {
	return boolField{at: func(t target) *bool { return &t.g.PerListenerSettings }}.format(t)
}

func (perListenerField) carry(to, from target) { to.g.PerListenerSettings = from.g.PerListenerSettings }
