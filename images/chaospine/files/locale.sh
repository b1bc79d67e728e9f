# Read by /etc/profile and /etc/bash.bashrc: sshd without PAM reads no /etc/default/locale, so a
# client that sends no LANG would get ASCII. At a prompt, a locale this image has not got (most
# clients send their own) is replaced too: better UTF-8 than a warning from every program.
if [ -z "${LANG:-}" ]; then
    export LANG=C.UTF-8
fi
case $- in
*i*)
    case $LANG in
    C | C.* | POSIX | en_US | en_US.*) ;;
    *) [ -n "${LOCPATH:-}" ] || LANG=C.UTF-8 ;;
    esac
    # macOS sends this, which is a locale only there.
    [ "${LC_CTYPE:-}" != UTF-8 ] || unset LC_CTYPE
    ;;
esac
