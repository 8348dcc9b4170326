"""Delivery notices in the manner of many mail servers and languages: made up here, addresses reserved ones."""

from __future__ import annotations

from dataclasses import dataclass, field

USER = "user@there.example"
_COPY = "Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\nFrom: sender@ours.example\nTo: {to}\nSubject: Offer\n"


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as text, and what a reader should take from it."""

    maker: str
    subject: str
    text: str
    recipients: tuple[str, ...] = (USER,)
    reason: str = "invalid recipient"
    action: str = "failed"
    author: str = "Mail Delivery System <MAILER-DAEMON@mx.there.example>"
    #: further header lines
    header: str = ""
    #: whom the returned message was for; "" if it is not returned
    returned_to: str = ""
    media: str = field(default='text/plain; charset="utf-8"')

    @property
    def raw(self) -> bytes:
        """The notice as it would arrive."""
        head = f"From: {self.author}\nTo: sender@ours.example\nSubject: {self.subject}\n{self.header}"
        head += "Message-ID: <20261102.abc123@mx.there.example>\nMIME-Version: 1.0\n"
        if not self.returned_to:
            return f"{head}Content-Type: {self.media}\n\n{self.text}\n".encode()
        return (
            f"{head}Content-Type: multipart/mixed; boundary=cut\n\n--cut\nContent-Type: {self.media}\n\n{self.text}\n"
            f"--cut\nContent-Type: message/rfc822\n\n{_COPY.format(to=self.returned_to)}\nHello\n--cut--\n"
        ).encode()


NOTICES = (
    Notice(
        "Postfix",
        "Undelivered Mail Returned to Sender",
        "This is the mail system at host mx.there.example.\n\n"
        "I'm sorry to have to inform you that your message could not\n"
        "be delivered to one or more recipients. It's attached below.\n\n"
        "For further assistance, please send mail to postmaster.\n\n                   The mail system\n"
        "\n<user@there.example>: host mx2.there.example[192.0.2.7] said: 550 5.1.1\n"
        "    <user@there.example>: Recipient address rejected: User unknown in virtual\n"
        "    mailbox table (in reply to RCPT TO command)\n",
        returned_to=USER,
    ),
    Notice(
        "Exim",
        "Mail delivery failed: returning message to sender",
        "This message was created automatically by mail delivery software.\n\n"
        "A message that you sent could not be delivered to one or more of\n"
        "its recipients. This is a permanent error. The following address(es) failed:\n\n"
        "  user@there.example\n    retry timeout exceeded\n  other@there.example\n"
        "    Unrouteable address\n\n"
        "------ This is a copy of the message, including all the headers. ------\n\n"
        "Return-path: <sender@ours.example>\nTo: third@there.example\n",
        recipients=(USER, "other@there.example"),
    ),
    Notice(
        "Exim delayed",
        "Warning: message 1abc delayed 24 hours",
        "This message was created automatically by mail delivery software.\n"
        "A message that you have sent has not yet been delivered to one or more of its\n"
        "recipients after more than 24 hours on the queue on mx.there.example.\n\n"
        "The message identifier is:     1abc-0001-AB\nThe date of the message is:    Mon, 2 Nov\n\n"
        "The address to which the message has not yet been delivered is:\n\n  user@there.example\n"
        "    Delay reason: connection timed out\n\n"
        "No action is required on your part. Delivery attempts will continue for\n"
        "some time, and this warning may be repeated.\n",
        reason="network",
        action="delayed",
    ),
    Notice(
        "sendmail",
        "Returned mail: see transcript for details",
        "The original message was received at Mon, 2 Nov 2026 10:00:00 GMT\nfrom localhost [127.0.0.1]\n"
        "\n   ----- The following addresses had permanent fatal errors -----\n<user@there.example>\n"
        "    (reason: 550 5.1.1 <user@there.example>... User unknown)\n\n"
        "   ----- Transcript of session follows -----\n... while talking to mx.there.example.:\n"
        ">>> DATA\n<<< 550 5.1.1 <user@there.example>... User unknown\n"
        "550 5.1.1 <user@there.example>... User unknown\n<<< 503 5.0.0 Need RCPT (recipient)\n",
    ),
    Notice(
        "sendmail, old",
        "Returned mail: Host unknown",
        "   ----- Transcript of session follows -----\n"
        "501 <user@there.example>... 550 Host unknown (Name server: there.example: host not found)\n\n"
        "   ----- Unsent message follows -----\nReceived: by ours.example; id AA1\n"
        "To: second@there.example\n",
        reason="bad domain",
    ),
    Notice(
        "qmail",
        "failure notice",
        "Hi. This is the qmail-send program at mx.there.example.\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
        "This is a permanent error; I've given up. Sorry it didn't work out.\n\n<user@there.example>:\n"
        "192.0.2.4 does not like recipient.\n"
        "Remote host said: 550 sorry, no mailbox here by that name. (#5.1.1)\nGiving up on 192.0.2.4.\n\n"
        "--- Below this line is a copy of the message.\n\nReturn-Path: <sender@ours.example>\n"
        "To: x@else.example\n",
    ),
    Notice(
        "Courier",
        "NOTICE: mail delivery status.",
        "This is a delivery status notification from mx.there.example,\n"
        "running the Courier mail server, version 0.65.\n\n"
        "The original message was received on Mon, 2 Nov 2026 10:00:00 +0000\n"
        "from ours.example (ours.example [192.0.2.1])\n\n---\n\n"
        "                           UNDELIVERABLE MAIL\n\n"
        "Your message to the following recipients cannot be delivered:\n\n<user@there.example>:\n"
        "    mx.there.example [192.0.2.7]:\n>>> RCPT TO:<user@there.example>\n"
        "<<< 550 5.1.1 <user@there.example>: User unknown\n\n---\n\n"
        "If your message was also sent to additional recipients, their delivery\n"
        "status is not included in this report.\n",
    ),
    Notice(
        "Exchange 5.5",
        "Undeliverable: Offer",
        "Your message\n\n  To:      list@else.example\n  Subject: Offer\n"
        "  Sent:    Mon, 2 Nov 2026 10:00:00 -0000\n\ndid not reach the following recipient(s):\n\n"
        "user@there.example on Mon, 2 Nov 2026 10:00:01 -0000\n    The recipient name is not recognized\n"
        "\tThe MTS-ID of the original message is: c=us;a= ;p=there\n"
        "    MSEXCH:IMS:There:HQ:MAIL1 0 (000C05A6) Unknown Recipient\n",
        author="System Administrator <postmaster@there.example>",
    ),
    Notice(
        "Exchange 2007",
        "Undeliverable: Offer",
        "<html><body><p><b>Delivery has failed to these recipients or distribution "
        "lists:</b></p><p><font><a "
        "href=\"mailto:user@there.example\">user@there.example</a><br>The recipient's e-mail "
        "address was not found in the recipient's e-mail system. Microsoft Exchange will not "
        "try to redeliver this message for you. Please check the e-mail address and try "
        "resending this message, or provide the following diagnostic text to your system "
        "administrator.</font></p><hr><p>Diagnostic information for "
        "administrators:</p><p>Generating server: "
        "there.example</p><p>user@there.example<br>#550 5.1.1 RESOLVER.ADR.RecipNotFound; "
        "not found ##</p></body></html>",
        author="Microsoft Exchange <postmaster@there.example>",
        media="text/html; charset=\"utf-8\"",
    ),
    Notice(
        "Office 365",
        "Undeliverable: Offer",
        "Delivery has failed to these recipients or groups:\n\nUser, Ann (user@there.example)\n"
        "Your message wasn't delivered because the recipient's mailbox is full.\n"
        "Please try again later or contact the recipient directly.\n\n"
        "Diagnostic information for administrators:\n\nGenerating server: AB1.prod.there.example\n\n"
        "user@there.example\nRemote Server returned '554 5.2.2 mailbox full; "
        "STOREDRV.Deliver.Exception:QuotaExceededException'\n",
        reason="mailbox full",
        author="postmaster@there.example",
    ),
    Notice(
        "Gmail",
        "Delivery Status Notification (Failure)",
        "** Address not found **\n\n"
        "Your message wasn't delivered to user@there.example because the address couldn't be "
        "found, or is unable to receive mail.\n\n"
        "Learn more here: https://support.google.com/mail/?p=NoSuchUser\n\nThe response was:\n\n"
        "550 5.1.1 The email account that you tried to reach does not exist. Please try "
        "double-checking the recipient's email address for typos or unnecessary spaces.\n",
        author="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
    ),
    Notice(
        "Gmail, old",
        "Delivery Status Notification (Failure)",
        "Delivery to the following recipient failed permanently:\n\n     user@there.example\n\n"
        "Technical details of permanent failure:\n"
        "Google tried to deliver your message, but it was rejected by the recipient domain. "
        "The error that the other server returned was: 550 550 No such user here (state 14).\n\n"
        "----- Original message -----\n\nTo: another@there.example\n",
        author="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
    ),
    Notice(
        "Gmail delay",
        "Delivery Status Notification (Delay)",
        "This is an automatically generated Delivery Status Notification\n\n"
        "THIS IS A WARNING MESSAGE ONLY.\n\nYOU DO NOT NEED TO RESEND YOUR MESSAGE.\n\n"
        "Delivery to the following recipient has been delayed:\n\n     user@there.example\n\n"
        "Message will be retried for 2 more day(s)\n",
        reason="network",
        action="delayed",
        author="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
    ),
    Notice(
        "Yahoo",
        "Failure Notice",
        "Sorry, we were unable to deliver your message to the following address.\n\n"
        "<user@there.example>:\n554: delivery error: dd This user doesn't have a there.example account "
        "(user@there.example) [0] - mta1.mail.there.example\n\n"
        "--- Below this line is a copy of the message.\n\nTo: x@else.example\n",
        author="MAILER-DAEMON@yahoo.com",
    ),
    Notice(
        "AOL",
        "Mail Delivery Problem",
        "Your mail to the following recipients could not be delivered because they are not "
        "accepting mail from sender@ours.example:\n\tuser\n",
        reason="policy",
        author="Mail Delivery Subsystem <MAILER-DAEMON@there.example>",
    ),
    Notice(
        "Domino",
        "DELIVERY FAILURE: User user (user@there.example) not listed in Domino Directory",
        "Your message\n\n  Subject: Offer\n\nwas not delivered to:\n\n  user@there.example\n\nbecause:\n"
        "\n  User user (user@there.example) not listed in Domino Directory\n",
        author="Postmaster@there.example",
    ),
    Notice(
        "GroupWise",
        "Message status - undeliverable",
        "The attached file had the following undeliverable recipient(s):\n\tuser@there.example\n\n"
        "Transcript of session follows:\nCommand: there.example\nResponse: 550 No such recipient\n",
        author="Mailer-Daemon@there.example",
    ),
    Notice(
        "MDaemon",
        "Permanent Delivery Failure",
        "The following data may contain sections which represent BASE64 encoded\nfile attachments.\n\n"
        "Failed address: user@there.example\n\n--- Session Transcript ---\n"
        " Mon 2026-11-02 10:00:00: --> RCPT To:<user@there.example>\n"
        " Mon 2026-11-02 10:00:01: <-- 550 <user@there.example>, Recipient unknown\n"
        "--- End Transcript ---\n",
        author="MDaemon@there.example",
    ),
    Notice(
        "IMail",
        "Undeliverable Mail",
        "Unknown user: user@there.example\n\n\nOriginal message follows.\n\n"
        "Received: from x [192.0.2.3] by y\nTo: z@else.example\n",
        author="Postmaster <postmaster@there.example>",
    ),
    Notice(
        "MailEnable",
        "Message Delivery Failure",
        "MailEnable: Message could not be delivered to some recipients.\n"
        "The following recipient(s) could not be reached:\n\n\tRecipient: [SMTP:user@there.example]\n"
        "\tReason: Remote SMTP Server Returned: 550 5.1.1 No such user\n\n\nMessage headers follow:\n"
        "Received: from a\n",
        author="Postmaster@there.example",
    ),
    Notice(
        "Lotus, relay",
        "Undeliverable message",
        "------- Failure Reasons  --------\n\nUser not listed in public Name & Address Book\n"
        "user@there.example\n\n\n------- Returned Message --------\n\nTo: q@else.example\n",
        author="Postmaster <postmaster@there.example>",
    ),
    Notice(
        "Mimecast",
        "[Postmaster] Email Delivery Failure",
        "This is a delivery failure notification message indicating that an email you "
        "addressed to email address :\n-- user@there.example\n\n"
        "could not be delivered. The problem appears to be :\n"
        "-- Recipient email server rejected the message\n\nAdditional information follows :\n"
        "-- Invalid Recipient - https://community.mimecast.example/docs/DOC-1369#550\n\n"
        "This condition occurred after 1 attempt(s) to deliver over a period of 0 hour(s).\n",
        author="Postmaster <postmaster@there.example>",
    ),
    Notice(
        "Barracuda",
        "**Message you sent blocked by our bulk email filter**",
        "Your message to: user@there.example\n"
        "was blocked by our Spam Firewall. The email you sent with the following subject has "
        "NOT BEEN DELIVERED:\n\nSubject: Offer\n",
        reason="spam block",
        author="Postmaster <postmaster@there.example>",
    ),
    Notice(
        "SES",
        "Delivery Status Notification (Failure)",
        "An error occurred while trying to deliver the mail to the following recipients:\n"
        "user@there.example\n",
        reason="unknown",
        author="MAILER-DAEMON@eu-west-1.amazonses.com",
    ),
    Notice(
        "Zoho",
        "Undelivered Mail Returned to Sender",
        "This message was created automatically by mail delivery software.\n"
        " A message that you sent could not be delivered to one or more of its recipients. "
        "This is a permanent error.\n\n"
        "user@there.example  Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 "
        "<user@there.example>: Recipient address rejected: User unknown in local recipient table\n\n"
        "Received:from mail.zoho.example by mx.zoho.example\n",
        author="mailer-daemon@mail.zoho.example",
    ),
    Notice(
        "GMX",
        "Mail delivery failed: returning message to sender",
        "This message was created automatically by mail delivery software.\n\n"
        "A message that you sent could not be delivered to one or more of\n"
        "its recipients. The following addresses failed:\n\n<user@there.example>\n\n"
        "SMTP error from remote server for RCPT TO command, host: mx.there.example "
        "(192.0.2.5) reason: 550 5.1.1 unknown user\n\n"
        "--- The header of the original message is following. ---\n\nReceived: from x\n"
        "To: v@else.example\n",
        author="\"GMX Mailer Daemon\" <mailer-daemon@gmx.example>",
    ),
    Notice(
        "WEB.DE",
        "Mail konnte nicht zugestellt werden",
        "Diese Nachricht wurde automatisch erzeugt.\n\nDie folgende Adresse ist fehlgeschlagen:\n\n"
        "user@there.example:\n    SMTP error from remote server after RCPT command:\n"
        "    host mx.there.example[192.0.2.5]\n    550 user unknown\n",
        author="mailer-daemon@web.example",
    ),
    Notice(
        "T-Online",
        "Undelivered Mail Returned to Sender",
        "|------------------------- Message log follows: -------------------------|\n"
        " no valid recipients were found for this message\n"
        "|------------------------- Failed addresses follow: ---------------------|\n"
        " <user@there.example> ... unknown user\n"
        "|------------------------- Message text follows: ------------------------|\n"
        "Received: from x by y\nTo: k@else.example\n",
    ),
    Notice(
        "SurgeMail",
        "Undeliverable Message",
        "Your message cannot be delivered to the following recipients:\n\n"
        "Recipient address: user@there.example\nReason: Unknown user\n\n"
        "Your message was enclosed below:\n",
        author="surgemail-failure@there.example",
    ),
    Notice(
        "Communigate",
        "Undeliverable mail: Offer",
        "Failed to deliver to '<user@there.example>'\nLOCAL module(account user) reports:\n"
        " account is full (quota exceeded)\n",
        reason="mailbox full",
    ),
    Notice(
        "Symantec",
        "Delivery failure notification",
        "Your message with Subject: Offer\ncould not be delivered to the following recipients:\n\n"
        "User@there.example\n\nPlease do not resend your original message.\n",
        recipients=("User@there.example",),
        reason="unknown",
        author="MailGateway@there.example",
        header="Auto-Submitted: auto-generated\n",
    ),
    Notice(
        "VPOP3",
        "Mail delivery failure",
        "VPOP3 could not send the following message\n\nTo <user@there.example>\n\n"
        "The error was: 550 No such user\n",
    ),
    Notice(
        "X.400",
        "Undeliverable: Offer",
        "Your message did not reach the following recipient(s):\n\n"
        "c=US;a= ;p=THERE;o=HQ;dda:SMTP=user@there.example; on Mon, 2 Nov\n2026 10:00:00\n"
        "    The recipient name is not recognized\n",
    ),
    Notice(
        "Mailman",
        "Your message to List awaits no more: delivery failed",
        "Delivery of the list message failed for this member:\n\n    user@there.example\n\n"
        "The last bounce received from the member said: mailbox unavailable\n",
        author="mailman-bounces@lists.there.example",
    ),
    Notice(
        "InterScan",
        "Mail could not be delivered",
        "****** Message from InterScan Messaging Security Suite ******\n\n"
        "Sent <<< RCPT TO:<user@there.example>\n"
        "Received >>> 550 5.1.1 <user@there.example>: no such user\n\n"
        "Unable to deliver message to <user@there.example>.\n"
        "************************ End of message ***********************\n",
    ),
    Notice(
        "NTMail",
        "Undeliverable mail",
        "The mail you sent could not be delivered to user@there.example - the mailbox does not exist.\n",
    ),
    Notice(
        "ezmlm, by the address it came to",
        "failure notice",
        "Sorry, it didn't work out. This is a permanent error.\n",
        reason="unknown",
        author="<MAILER-DAEMON@there.example>",
        header="Delivered-To: list-return-42-user=there.example@ours.example\n",
    ),
    Notice(
        "a header that says it all",
        "Mail failure.",
        "It failed.\n",
        recipients=(USER, "other@there.example"),
        reason="unknown",
        header="X-Failed-Recipients: user@there.example,\n other@there.example\n",
    ),
    Notice(
        "only the returned message tells",
        "Returned mail",
        "Sorry. The message you sent could not be delivered; it is below.\n",
        reason="unknown",
        returned_to=USER,
    ),
    Notice(
        "a name alone, completed from the returned message",
        "Undeliverable mail",
        "The following recipients were not reached:\n\n  user   no such mailbox\n",
        returned_to="Ann <user@there.example>, bob@there.example",
    ),
    Notice(
        "capitals, no space",
        "UNDELIVERABLE",
        "USER UNKNOWN:<user@there.example>\n",
    ),
    Notice(
        "a contact is no recipient",
        "Delivery failure",
        "The address user@there.example does not exist.\n"
        "For help contact helpdesk@there.example or write to it-team@there.example, or see "
        "http://x.example/?a=b@c.example\n",
    ),
    Notice(
        "German",
        "Unzustellbar: Angebot",
        "Ihre Nachricht hat den folgenden Empfänger nicht erreicht:\n\n"
        "user@there.example am 02.11.2026 10:00\n    Der Empfängername ist unbekannt.\n",
        author="Systemadministrator <postmaster@there.example>",
    ),
    Notice(
        "German, Exchange",
        "Unzustellbar: Angebot",
        "Fehler bei der Nachrichtenzustellung an folgende Empfänger oder Verteilerlisten:\n\n"
        "user@there.example\nDas Postfach des Empfängers ist voll. Versuchen Sie es später noch einmal.\n",
        reason="mailbox full",
    ),
    Notice(
        "German, sentence",
        "Ihre Mail konnte nicht zugestellt werden",
        "Leider konnte Ihre E-Mail an user@there.example nicht zugestellt werden. Grund: Die "
        "Adresse existiert nicht.\n",
    ),
    Notice(
        "French",
        "Échec de la remise : Offre",
        "Échec de la remise aux destinataires suivants :\n\n    user@there.example\n\n"
        "L'adresse de messagerie du destinataire est introuvable.\n",
    ),
    Notice(
        "French, sentence",
        "Message non remis",
        "Votre message n'a pas pu être délivré à user@there.example : boîte aux lettres pleine.\n",
        reason="mailbox full",
    ),
    Notice(
        "Spanish",
        "No se puede entregar: Oferta",
        "No se pudo entregar el mensaje a los siguientes destinatarios:\n\nuser@there.example\n"
        "El buzón del destinatario no existe.\n",
    ),
    Notice(
        "Italian",
        "Mancato recapito: Offerta",
        "Impossibile recapitare il messaggio ai seguenti destinatari:\n\n  user@there.example\n"
        "  Indirizzo inesistente\n",
    ),
    Notice(
        "Portuguese",
        "Falha na entrega: Oferta",
        "A mensagem não foi entregue ao destinatário: user@there.example\n"
        "Motivo: caixa postal inexistente\n",
    ),
    Notice(
        "Dutch",
        "Onbestelbaar: Aanbod",
        "Uw bericht kon niet worden bezorgd bij:\n\nuser@there.example\nDe gebruiker is onbekend.\n",
    ),
    Notice(
        "Polish",
        "Niedostarczona poczta",
        "Wiadomość nie została dostarczona do następujących adresatów:\n\nuser@there.example\n"
        "Użytkownik nie istnieje.\n",
    ),
    Notice(
        "Russian",
        "Недоставленное сообщение",
        "Это письмо создано автоматически. К сожалению, ваше письмо не может быть доставлено "
        "одному или нескольким получателям:\n\nuser@there.example:\n    пользователь не найден\n",
    ),
    Notice(
        "Czech",
        "Nedoručitelná zpráva",
        "Zprávu nelze doručit těmto příjemcům:\n\nuser@there.example\nuživatel neexistuje\n",
    ),
    Notice(
        "Swedish",
        "Olevererbart: Erbjudande",
        "Ditt meddelande kunde inte levereras till följande mottagare:\n\nuser@there.example\n"
        "Mottagaren finns inte\n",
    ),
    Notice(
        "Japanese",
        "メールをお届けできませんでした",
        "以下の宛先にメールを配信できませんでした。\n\n宛先: user@there.example\n理由: ユーザが存在しません\n",
    ),
    Notice(
        "Chinese",
        "系统退信",
        "抱歉，您的邮件被退回来了……\n\n收信人：<user@there.example>\n退信原因：收件人邮箱地址不存在\n",
        author="PostMaster@there.example",
    ),
    Notice(
        "Korean",
        "메일 전송 실패",
        "아래 수신자에게 메일을 보내지 못했습니다.\n\n수신자: user@there.example\n사유: 존재하지 않는 사용자\n",
    ),
    Notice(
        "Turkish",
        "Teslim edilemedi",
        "Mesajınız aşağıdaki alıcıya teslim edilemedi:\n\nuser@there.example\nKullanıcı bulunamadı\n",
    ),
)  # fmt: skip
