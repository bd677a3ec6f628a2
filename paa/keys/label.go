package keys

// KeyLog names a key in the key file of a build with the tag panakeylog, for docs/pana.lua.
type KeyLog string

// The labels. Sealing keys are those of the directions, AES-256.
const (
	LogAuth       KeyLog = "PANA_AUTH_KEY"
	LogEncrPaC    KeyLog = "PANA_PAC_ENCR_KEY" // RFC 6786: PaC to PAA
	LogEncrPAA    KeyLog = "PANA_PAA_ENCR_KEY" // PAA to PaC
	LogCAToRouter KeyLog = "MN_CA_TO_ROUTER"
	LogCAToNode   KeyLog = "MN_CA_TO_NODE"
	LogARToRouter KeyLog = "MN_AR_TO_ROUTER"
	LogARToNode   KeyLog = "MN_AR_TO_NODE"
)
