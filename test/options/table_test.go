package options

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/config"
)

// row names the tests that show what an option does and what a reload does with
// it: tests of this package by their names, others behind their directory. A
// reload of an option that needs a restart is shown by the test that compares
// configurations.
type row struct{ effect, reload string }

const (
	parsed   = "internal/config:TestEveryOption"                          // accepted values, rejected values with their messages
	compared = "internal/config:TestReloadedTakesExactlyWhatTheTableSays" // what takes effect, and when
	kept     = compared                                                   // needs a restart: the old value stays
	process  = "internal/cli:TestLifeOfABroker"
	refused  = "internal/config:TestEveryOption" // the line is an error that says why
	bridges  = "internal/config:TestBridgesAreRefused"
)

var table = map[string]row{
	"accept_protocol_versions":        {"TestAcceptProtocolVersions", "TestAcceptProtocolVersions"},
	"acl_file":                        {"TestACLFile", "TestACLFile"},
	"acl_deny_slash":                  {"TestACLDenySlash", "TestACLDenySlash"},
	"autosave_interval":               {"TestAutosave", "TestAutosave"},
	"autosave_on_changes":             {"TestAutosave", "TestAutosave"},
	"connect_timeout":                 {"TestConnectionLimits", "TestConnectionLimits"},
	"listener_persistence_sync":       {"TestPersistence", compared},
	"log_format":                      {"TestLogFormat", "TestLogFormat"},
	"login_failures_address":          {"TestLoginLockout", "TestLoginLockout"},
	"login_failures_user":             {"TestLoginLockout", "TestLoginLockout"},
	"login_lockout":                   {"TestLoginLockout", "TestLoginLockout"},
	"login_lockout_max":               {"internal/auth/lockout:TestUser", "TestLoginLockout"},
	"max_connection_rate":             {"TestConnectionLimits", "TestConnectionLimits"},
	"max_queued_age":                  {"TestMaxQueuedAge", "TestMaxQueuedAge"},
	"max_total_queued_bytes":          {"TestMaxTotalQueuedBytes", "TestMaxTotalQueuedBytes"},
	"persistence":                     {"TestPersistence", kept},
	"persistence_file":                {"TestPersistenceFile", kept},
	"persistence_location":            {"TestPersistence", kept},
	"persistence_sync":                {"TestPersistence", kept},
	"persistence_sync_topic":          {"TestPersistence", kept},
	"queue_policy":                    {"TestQueuePolicy", "TestQueuePolicy"},
	"retained_persistence":            {"TestPersistence", kept},
	"allow_anonymous":                 {"TestAllowAnonymous", "TestAllowAnonymous"},
	"allow_duplicate_messages":        {"TestAllowDuplicateMessages", "TestAllowDuplicateMessages"},
	"allow_zero_length_clientid":      {"TestClientIDs", "TestClientIDs"},
	"auth_opt_*":                      {"TestPasswordFile", "TestPasswordFile"},
	"auth_plugin":                     {"TestPasswordFile", "TestPasswordFile"},
	"auth_plugin_deny_special_chars":  {parsed, kept},
	"auto_id_prefix":                  {"TestClientIDs", "TestClientIDs"},
	"bind_address":                    {"TestDefaultListener", kept},
	"bind_interface":                  {"TestBindInterface", kept},
	"cafile":                          {"TestClientCertificates", "TestClientCertificates"},
	"capath":                          {"TestClientCertificates", "TestClientCertificates"},
	"certfile":                        {"TestCertificateOfTheServer", "TestCertificateOfTheServer"},
	"check_retain_source":             {"TestCheckRetainSource", "TestCheckRetainSource"},
	"ciphers":                         {"TestVersionsAndCiphers", "TestVersionsAndCiphers"},
	"ciphers_tls1.3":                  {"internal/tlsconf:TestCipherLists", "TestVersionsAndCiphers"},
	"clientid_prefixes":               {"TestClientIDs", "TestClientIDs"},
	"connection_messages":             {"TestLogTypeAndConnectionMessages", "TestLogTypeAndConnectionMessages"},
	"control_socket":                  {process, kept},
	"crlfile":                         {"TestClientCertificates", "TestClientCertificates"},
	"dhparamfile":                     {"internal/config:TestReportedLines", kept},
	"disable_client_cert_date_checks": {"TestClientCertificates", "TestClientCertificates"},
	"enable_control_api":              {"TestEnableControlAPI", "TestEnableControlAPI"},
	"enable_proxy_protocol":           {"TestProxyProtocol", kept},
	"global_max_clients":              {"TestGlobalMaxClients", "TestGlobalMaxClients"},
	"global_max_connections":          {"TestMaxConnections", "TestMaxConnections"},
	"global_plugin":                   {"TestPasswordFile", "TestPasswordFile"},
	"http_dir":                        {"TestHTTPDir", kept},
	"include_dir":                     {"TestIncludeDir", "TestIncludeDir"},
	"keyfile":                         {"TestCertificateOfTheServer", "TestCertificateOfTheServer"},
	"listener":                        {"TestListenerPlaces", kept},
	"listener_allow_anonymous":        {"TestAllowAnonymous", "TestAllowAnonymous"},
	"listener_auto_id_prefix":         {"TestClientIDs", "TestClientIDs"},
	"log_dest":                        {"TestLogDest", "TestLogDest"},
	"log_facility":                    {"internal/logging:TestSyslogPriorities", compared},
	"log_timestamp":                   {"TestLogTimestamp", "TestLogTimestamp"},
	"log_timestamp_format":            {"TestLogTimestamp", "TestLogTimestamp"},
	"log_type":                        {"TestLogTypeAndConnectionMessages", "TestLogTypeAndConnectionMessages"},
	"loops":                           {"internal/cli:TestReload", kept},
	"max_connections":                 {"TestMaxConnections", "TestMaxConnections"},
	"max_inflight_bytes":              {"TestMaxInflightBytes", "TestMaxInflightBytes"},
	"max_inflight_messages":           {"TestMaxInflightMessages", "TestMaxInflightMessages"},
	"max_keepalive":                   {"TestMaxKeepAlive", "TestMaxKeepAlive"},
	"max_output_bytes":                {"TestMaxOutputBytes", "TestMaxOutputBytes"},
	"max_packet_size":                 {"TestMaxPacketSize", "TestMaxPacketSize"},
	"max_qos":                         {"TestMaxQoS", "TestMaxQoS"},
	"max_queued_bytes":                {"TestMaxQueued", "TestMaxQueued"},
	"max_queued_messages":             {"TestMaxQueued", "TestMaxQueued"},
	"max_topic_alias":                 {"TestTopicAliases", "TestTopicAliases"},
	"max_topic_alias_broker":          {"TestTopicAliases", "TestTopicAliases"},
	"maximum_qos":                     {"TestMaxQoS", "TestMaxQoS"},
	"memory_limit":                    {"TestMemoryLimit", "TestMemoryLimit"},
	"message_size_limit":              {"TestMessageSizeLimit", "TestMessageSizeLimit"},
	"mount_point":                     {"TestMountPoint", "TestMountPoint"},
	"packet_buffer_size":              {"TestPacketBufferSize", kept},
	"password_file":                   {"TestPasswordFile", "TestPasswordFile"},
	"per_listener_settings":           {"TestPerListenerSettings", "TestPerListenerSettings"},
	"persistent_client_expiration":    {"TestPersistentClientExpiration", "TestPersistentClientExpiration"},
	"pid_file":                        {process, kept},
	"plugin":                          {"TestPasswordFile", "TestPasswordFile"},
	"plugin_load":                     {"TestPasswordFile", "TestPasswordFile"},
	"plugin_opt_*":                    {"TestACLFile", "TestACLFile"},
	"plugin_use":                      {"TestPasswordFile", "TestPasswordFile"},
	"port":                            {"TestDefaultListener", kept},
	"protocol":                        {"TestWebSockets", kept},
	"proxy_protocol_v2_require_tls":   {"TestProxyProtocolV2RequireTLS", kept},
	"psk_file":                        {refused, kept},
	"psk_hint":                        {refused, kept},
	"queue_qos0_messages":             {"TestQueueQoS0Messages", "TestQueueQoS0Messages"},
	"require_certificate":             {"TestClientCertificates", "TestClientCertificates"},
	"retain_available":                {"TestRetainAvailable", "TestRetainAvailable"},
	"retain_expiry_interval":          {"TestRetainExpiryInterval", "TestRetainExpiryInterval"},
	"retry_interval":                  {"internal/config:TestReportedLines", kept},
	"set_tcp_nodelay":                 {"internal/transport:TestNoDelay", "internal/transport:TestNoDelay"},
	"socket_domain":                   {"TestListenerPlaces", kept},
	"sys_interval":                    {"TestSysInterval", "TestSysInterval"},
	"tls_engine":                      {refused, kept},
	"tls_engine_kpass_sha1":           {refused, kept},
	"tls_keyform":                     {refused, kept},
	"tls_version":                     {"TestVersionsAndCiphers", "TestVersionsAndCiphers"},
	"upgrade_outgoing_qos":            {"TestUpgradeOutgoingQoS", "TestUpgradeOutgoingQoS"},
	"use_identity_as_username":        {"TestNameOfTheCertificate", "TestNameOfTheCertificate"},
	"use_subject_as_username":         {"TestNameOfTheCertificate", "TestNameOfTheCertificate"},
	"use_username_as_clientid":        {"TestUseUserNameAsClientID", "TestUseUserNameAsClientID"},
	"user":                            {"internal/cli:TestRootBecomesTheUser", kept},
	"websockets_headers_size":         {"TestPacketBufferSize", kept},
	"websockets_log_level":            {"internal/config:TestReportedLines", kept},
	"websockets_origin":               {"TestWebSockets", "TestWebSockets"},
}

// TestEveryOptionIsShown fails for an option without tests of its effect and its
// reload, for names of tests that do not exist, and for rows of no option.
func TestEveryOptionIsShown(t *testing.T) {
	known := make(map[string]bool)
	for _, o := range config.Options() {
		known[o.Name] = true
		r, ok := table[o.Name]
		if !ok && o.Section == "bridge" {
			r, ok = row{bridges, bridges}, true
		}
		if !ok {
			t.Errorf("%s is in no row", o.Name)
			continue
		}
		for what, name := range map[string]string{"effect": r.effect, "reload": r.reload} {
			if err := exists(name); err != nil {
				t.Errorf("%s: %s: %v", o.Name, what, err)
			}
		}
		if o.Reload == config.Restart && r.reload != kept {
			t.Errorf("%s needs a restart, and %s is to show a reload", o.Name, r.reload)
		}
		if o.Supported() && o.Section != "bridge" && o.Reload != config.Restart && r.reload == kept && o.Name != "log_facility" && o.Name != "listener_persistence_sync" {
			t.Errorf("%s takes effect with a reload, which nothing shows", o.Name)
		}
	}
	for name := range table {
		if !known[name] {
			t.Errorf("%s is no option", name)
		}
	}
}

// sources are the test files of a directory, read once.
var sources = make(map[string]string)

// exists looks for a test in the sources.
func exists(name string) error {
	dir, test, other := strings.Cut(name, ":")
	if !other {
		dir, test = "test/options", name
	}
	if sources[dir] == "" {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*_test.go"))
		if err != nil {
			return err
		}
		var all strings.Builder
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			all.WriteByte('\n')
			all.Write(text)
		}
		sources[dir] = all.String()
	}
	if !strings.Contains(sources[dir], "\nfunc "+test+"(") {
		return fmt.Errorf("there is no %s in %s", test, dir)
	}
	return nil
}
