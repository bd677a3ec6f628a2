// Package hostapd looks at the access points that hostapd runs on this machine, through its control sockets. It changes nothing.
//
//	STATUS      state of the radio, channel (freq), the BSSes by index (bss[0]=wlan0)
//	GET_CONFIG  of one BSS: bssid, ssid, key_mgmt
//	MIB         of one BSS: its RADIUS servers, where it has 802.1X
//
// The socket of a BSS is named as its interface. hostapd 2.10, tried.
package hostapd
